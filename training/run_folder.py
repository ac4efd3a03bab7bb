"""A run's folder: its recipe, checkpoint, best weights, log and picture. One process at a time.

recipe.json        the recipe and the data's digest; a run with another one is refused
last.ckpt          the last checkpoint
best.safetensors   the weights of the best epoch so far, float32
epochs.jsonl       one line of figures for each epoch
loss.png           their picture
published.json     the bundle, once there is one
csv/, tensorboard/ what a logger writes, a version for each start
pretraining/       the same of the stage before the task, where the recipe has one
"""

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from models.digest import as_json, sync_folder, write_durably
from models.errors import ConfigError, DataError
from training.recipe import PLACES, AverageSection, RegularizationSection, TrainerSection

# Keys that say where the data and the first weights lie: their sha256 are compared instead.
BY_DIGEST = re.compile(r"data\.(.*\.)?((validation|test)_)?path|start_from")
RAISABLE = frozenset({"epochs", "patience"})  # a run in its folder goes on with a higher one


def flattened(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}, "c": [{"d": 2}]} -> {"a.b": 1, "c.0.d": 2}."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, list):
            value = {str(number): item for number, item in enumerate(value)}
        flat.update(flattened(value, f"{name}.") if isinstance(value, dict) else {name: value})
    return flat


_ADDED: dict[str, Any] = {  # keys that records of earlier versions lack, with what those runs did
    **flattened({"average": AverageSection().model_dump(), "regularization": RegularizationSection().model_dump()}),
    "label_smoothing": 0.0,
    "bpe_dropout": 0.0,
    "gradual_unfreezing": False,
}


class RunFolder:
    """The paths of a run.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.json"
        self.checkpoint = path / "last.ckpt"
        self.best = path / "best.safetensors"
        self.log = path / "epochs.jsonl"
        self.picture = path / "loss.png"
        self.published = path / "published.json"

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Self]:
        """The folder, made if need be, and locked.

        Raises:
            ConfigError: another process trains in it.
        """
        path.mkdir(parents=True, exist_ok=True)
        with (path / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(f"run_dir {path} is in use by another process; wait, or name another one.") from None
            yield cls(path)

    @property
    def pretraining(self) -> "RunFolder":
        """The folder of the stage before the task: its checkpoint, best weights, log and picture."""
        path = self.path / "pretraining"
        path.mkdir(exist_ok=True)
        return RunFolder(path)

    def clear(self) -> None:
        """Remove what a run wrote, and nothing else."""
        if (self.path / "pretraining").is_dir():
            self.pretraining.clear()
        for file in (self.published, self.checkpoint, self.best, self.log, self.picture, self.recipe):
            file.unlink(missing_ok=True)
        for logs in ("csv", "tensorboard"):
            shutil.rmtree(self.path / logs, ignore_errors=True)

    def forget_unstarted(self) -> None:
        """Remove the record of a run of which no checkpoint was written; another recipe may then have the folder."""
        if not self.checkpoint.is_file() and not (self.path / "pretraining" / self.checkpoint.name).is_file():
            self.recipe.unlink(missing_ok=True)

    def claim(self, recipe: dict[str, Any], data_sha256: str, start_sha256: str | None = None) -> list[str]:
        """Record the run in its folder, or check that the folder is of the same run.

        Args:
            recipe: plain.
            data_sha256: of the data.
            start_sha256: of the bundle that the run starts from.

        Returns:
            The keys of RAISABLE that are higher than there: a longer run of the same recipe. Nothing is written then;
            `extend` does it.

        Raises:
            ConfigError: it holds another run; the message names the keys that differ and what to do.
            DataError: recipe.json is broken.
        """
        mine = _identity(recipe, data_sha256, start_sha256)
        if not self.recipe.is_file():
            write_whole(self.recipe, as_json(mine))
            return []
        way_out = "begin again in this folder with --fresh, or name another one (run_dir=...)"
        theirs = _in_todays_keys(_read_json(self.recipe, way_out), mine)
        comparable = [key for key in sorted({*mine, *theirs} - PLACES) if not BY_DIGEST.fullmatch(key)]
        differing = [key for key in comparable if mine.get(key) != theirs.get(key)]
        lowered = [key for key in differing if key in RAISABLE and not _is_raised(theirs.get(key), mine.get(key))]
        if lowered or not RAISABLE.issuperset(differing):
            changes = ", ".join(f"{key} ({theirs.get(key)} there, {mine.get(key)} now)" for key in differing)
            hint = " A run can be made longer, not shorter." if lowered else ""
            raise ConfigError(
                f"run_dir {self.path} holds a run of another recipe: {changes}.{hint} "
                "Name another folder (run_dir=...), or add --fresh to begin again in this one."
            )
        return differing

    def extend(self, recipe: dict[str, Any], data_sha256: str, start_sha256: str | None = None) -> None:
        """Record a longer run of the same recipe, which `claim` has found: its bundle is yet to be published."""
        self.published.unlink(missing_ok=True)
        write_whole(self.recipe, as_json(_identity(recipe, data_sha256, start_sha256)))

    def read_published(self) -> dict[str, Any] | None:
        """Which bundle this run has become: {"bundle": path, "sha256": of its record}; None before there is one.

        Raises:
            DataError: published.json is broken.
        """
        if not self.published.is_file():
            return None
        way_out = "remove it, and the same command publishes again"
        record = _read_json(self.published, way_out)
        if not all(isinstance(record.get(key), str) for key in ("bundle", "sha256")):
            raise DataError(f"{self.published} does not say bundle and sha256; {way_out}.")
        return record


def _identity(recipe: dict[str, Any], data_sha256: str, start_sha256: str | None) -> dict[str, Any]:
    """What recipe.json has."""
    start = {} if start_sha256 is None else {"start_from_sha256": start_sha256}
    return flattened({**recipe, "data_sha256": data_sha256, **start})


def _is_raised(there: int | None, now: int | None) -> bool:
    """Of a limit; None is none."""
    return there is not None and (now is None or now > there)


def _in_todays_keys(flat: dict[str, Any], mine: dict[str, Any]) -> dict[str, Any]:
    """The record of a folder that an earlier version of the project has written, with the keys of this one."""
    if "accelerator" in flat:
        flat = {**flattened({"trainer": TrainerSection().model_dump()}), **flat}
        flat["trainer.accelerator"] = flat.pop("accelerator")
    if flat.get("task") == "language-model":
        flat["task"] = "generation"
    return {**{key: value for key, value in _ADDED.items() if key in mine}, **flat}


def _read_json(path: Path, way_out: str) -> dict[str, Any]:
    """A JSON object of the run folder; `way_out` ends the message of the DataError about a broken one."""
    try:
        record = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}); {way_out}.") from None
    if not isinstance(record, dict):
        raise DataError(f"{path} is not a JSON object; {way_out}.")
    return record


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it appears whole or stays as it was."""
    partial = path.with_name(path.name + ".partial")
    write_durably(partial, content)
    partial.replace(path)
    sync_folder(path.parent)
