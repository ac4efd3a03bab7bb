"""A checkpoint: everything that a run needs to resume as if it had never stopped, in one file.

It has tensors, numbers and strings only and is read with `weights_only=True`: loading runs no code. It is written
under another name and renamed, so a file of that name is whole.
"""

import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.digest import sync_folder
from models.errors import DataError


@dataclass(frozen=True)
class Checkpoint:
    """What is saved."""

    progress: dict[str, Any]  # training.progress.Progress, plain
    weights: dict[str, Tensor]
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    state: Tensor | None  # float32 [lanes, D], of the lanes of all processes
    generators: dict[str, Any]  # random_state() of rank 0
    other_generators: list[dict[str, Any]] = field(default_factory=list)  # of the other ranks
    average: dict[str, Any] = field(default_factory=dict)  # training.average.WeightAverage, plain


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all, and force it to the disk."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        torch.save(vars(checkpoint), file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; tensors come to the CPU.

    Raises:
        DataError: the file is not a whole checkpoint.
    """
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many kinds for a broken file
        reason = f"{type(error).__name__} {error}".splitlines()[0][:120].strip()
        raise DataError(f"{path} is not a whole checkpoint ({reason}); remove it or run with --fresh.") from None


def random_state() -> dict[str, Any]:
    """The states of the generators of torch, numpy and Python, as tensors and numbers."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002
    state = {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (kind, [int(key) for key in keys], int(position), int(has_gauss), float(gauss)),
        "python": random.getstate(),
    }
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators back to what `random_state` gave."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])
