"""Which backend and graph sets run a model on this machine, as it was measured and recorded here.

    <cache>/<bundle sha>/<device>/bench.json    the choices, and the figures that they were made from

A choice names a set for each group of graphs that share states (models.tasks.Task.groups). It is made once for a model,
never for a batch: an answer does not depend on how many ask at once.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.bundle import Bundle
from models.digest import as_json, read_sealed, sealed, sync_folder, write_durably
from models.errors import BundleCorruptError
from models.tasks import Task
from runtime.device import cache_folder
from runtime.opening import SETS

FILE = "bench.json"


@dataclass(frozen=True)
class Choice:
    """What runs a model.

    Attributes:
        backend: one of runtime.opening.BACKENDS.
        sets: of those that it runs, one for each of the task's groups, in their order.
    """

    backend: str
    sets: tuple[str, ...]

    @property
    def precision(self) -> str:
        """The set's name; where the groups have several, their names in the order of the groups: fp32+int8."""
        return self.sets[0] if len(set(self.sets)) == 1 else "+".join(self.sets)

    def __str__(self) -> str:
        """As people read it."""
        return f"{self.precision} on {self.backend}"

    def set_of_graphs(self, task: Task) -> dict[str, str]:
        """Graph -> the set that it runs from."""
        return {graph: name for group, name in zip(task.groups, self.sets, strict=True) for graph in group}


def whole_set(backend: str, name: str, task: Task) -> Choice:
    """The choice of one set for all graphs."""
    return Choice(backend, (name,) * len(task.groups))


def read_choices(bundle: Bundle) -> tuple[Choice, ...]:
    """The recorded choices that can be used, the fastest backend first.

    One is left out if the bundle lacks a set that it names, or has one that it was not compared with.
    """
    try:
        entries = read_sealed(_path(bundle)).get("choices")
    except BundleCorruptError:
        return ()
    if not isinstance(entries, list):
        return ()
    return tuple(Choice(it["backend"], tuple(it["sets"])) for it in entries if _is_usable(it, bundle))


def _is_usable(entry: Any, bundle: Bundle) -> bool:
    match entry:
        case {"backend": str(backend), "sets": list(sets), "compared": list(compared)} if backend in SETS:
            present = [name for name in SETS[backend] if name in bundle.graph_sets]
            is_whole = len(sets) == len(bundle.task.groups) and all(name in present for name in sets)
            return is_whole and all(name in compared for name in present)
        case _:
            return False


def write_choices(
    bundle: Bundle,
    choices: Sequence[Choice],
    compared: Mapping[str, Sequence[str]],
    figures: Sequence[Mapping[str, Any]],
    facts: Any,
) -> Path:
    """Record choices, in place of earlier ones.

    Args:
        bundle: the model.
        choices: the fastest backend's first.
        compared: backend -> the sets that were measured on it.
        figures: what they were made from, as JSON.
        facts: of the machine and the measuring, as JSON.

    Returns:
        The file.

    Raises:
        OSError: it cannot be written.
    """
    path = _path(bundle)
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [{"backend": it.backend, "sets": list(it.sets), "compared": list(compared[it.backend])} for it in choices]
    record = sealed({"format": 2, "choices": entries, "figures": list(figures), "facts": facts})
    beside = path.with_name(f".{FILE}.{os.getpid()}")
    try:
        write_durably(beside, as_json(record))
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)
    return path


def _path(bundle: Bundle) -> Path:
    return cache_folder(bundle.record.sha256) / FILE
