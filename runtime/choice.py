"""Which backend and graph set run a model on this machine, as `python -m export bench` measured and recorded it.

    <cache>/<bundle sha>/<device>/bench.json    the choice, and the figures that it was made from

The choice is made once for a model, never for a batch: an answer does not depend on how many ask at once.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.digest import as_json, read_sealed, sealed, sync_folder, write_durably
from models.errors import BundleCorruptError
from runtime.device import cache_folder
from runtime.opening import SETS

FILE = "bench.json"


@dataclass(frozen=True)
class Choice:
    """What runs a model.

    Attributes:
        backend: one of runtime.opening.BACKENDS.
        set: one of the sets that it runs.
    """

    backend: str
    set: str

    def __str__(self) -> str:
        """As people read it."""
        return f"{self.set} on {self.backend}"


def read_choice(bundle_sha256: str) -> Choice | None:
    """The recorded choice, or None where there is none that can be used."""
    try:
        record = read_sealed(cache_folder(bundle_sha256) / FILE).get("choice")
    except BundleCorruptError:
        return None
    match record:
        case {"backend": str(backend), "set": str(name)} if name in SETS.get(backend, ()):
            return Choice(backend, name)
        case _:
            return None


def write_choice(bundle_sha256: str, choice: Choice, figures: Sequence[Mapping[str, Any]], facts: Any) -> Path:
    """Record a choice, in place of an earlier one.

    Args:
        bundle_sha256: of the bundle's record.
        choice: the choice.
        figures: what it was made from, as JSON.
        facts: of the machine and the measuring, as JSON.

    Returns:
        The file.
    """
    path = cache_folder(bundle_sha256) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    record = sealed({"format": 1, "choice": asdict(choice), "figures": list(figures), "facts": facts})
    beside = path.with_name(f".{FILE}.{os.getpid()}")
    try:
        write_durably(beside, as_json(record))
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)
    return path
