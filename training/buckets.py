"""Examples of different lengths in batches of similar ones: every example once an epoch, in an order of the epoch's."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Item = TypeVar("Item")


def generator_of(*key: int) -> np.random.Generator:
    """Random numbers that depend on the key alone, so that a run can begin anywhere with the same ones."""
    return np.random.default_rng(key)


def bucketed(lengths: Sequence[tuple[int, ...]], size: int, generator: np.random.Generator) -> list[NDArray[np.int64]]:
    """Shuffle, sort by length (so equal lengths stay shuffled), cut into batches, shuffle the batches.

    Args:
        lengths: of each example, the most important one first.
        size: examples in a batch; the last cut may hold fewer.
        generator: of the shuffles.

    Returns:
        int64 [at most size] each: positions in `lengths`; together they are all positions once.
    """
    shuffled = generator.permutation(len(lengths))
    order = np.array(sorted(shuffled.tolist(), key=lambda i: lengths[i]), np.int64)
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    return [batches[i] for i in generator.permutation(len(batches)).tolist()]


def in_order(lengths: Sequence[tuple[int, ...]], size: int) -> list[NDArray[np.int64]]:
    """The same without shuffles, shortest first: for reading a validation part."""
    order = np.array(sorted(range(len(lengths)), key=lambda i: lengths[i]), np.int64)
    return [order[start : start + size] for start in range(0, len(order), size)]


def padded(rows: Sequence[Sequence[int]], filler: int = 0) -> Tensor:
    """Rows of different lengths as int64 [rows, longest], filled up at their ends."""
    width = max(len(row) for row in rows)
    filled = np.full((len(rows), width), filler, np.int64)
    for number, row in enumerate(rows):
        filled[number, : len(row)] = row
    return torch.from_numpy(filled)
