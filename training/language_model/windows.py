"""A token stream cut into lanes read side by side, and lanes into windows read one after the other.

This is truncated backpropagation through time (Williams & Peng 1990): lane b of window k + 1 goes on where lane b of
window k stopped, so the state can be carried. Every token but the first is a target exactly once.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import DataError

IGNORED = -100  # a target that does not count: cross_entropy's ignore_index


class Window(NamedTuple):
    """One batch."""

    position: int  # in the epoch; 0 is a beginning, where the state is zero
    inputs: Tensor  # int64 [lanes, time]
    targets: Tensor  # int64 [lanes, time], the token after each input; IGNORED where a lane has ended

    @property
    def num_targets(self) -> int:
        """Targets that count."""
        return int((self.targets != IGNORED).sum())


class Windows:
    """All windows of a stream, in order.

    Lanes differ in length by at most one token, and so do windows: no window is much shorter than the others.

    Args:
        ids: int64 [num_tokens], the stream.
        lanes: how many lanes, at least 1.
        length: the most time steps in a window, at least 1.

    Raises:
        DataError: the stream has fewer targets than lanes.
    """

    def __init__(self, ids: NDArray[np.int64], *, lanes: int, length: int) -> None:
        num_targets = len(ids) - 1
        if num_targets < lanes:
            raise DataError(f"{len(ids)} tokens are too few for {lanes} lanes; use fewer lanes or a longer text.")
        bounds = [lane * num_targets // lanes for lane in range(lanes + 1)]
        steps = max(end - start for start, end in pairwise(bounds))
        inputs = np.zeros((lanes, steps), dtype=np.int64)
        targets = np.full((lanes, steps), IGNORED, dtype=np.int64)
        for lane, (start, end) in enumerate(pairwise(bounds)):
            inputs[lane, : end - start] = ids[start:end]
            targets[lane, : end - start] = ids[start + 1 : end + 1]
        self.lanes = lanes
        self.num_targets = num_targets
        self._inputs = torch.from_numpy(inputs)
        self._targets = torch.from_numpy(targets)
        count = -(-steps // length)
        self._cuts = [window * steps // count for window in range(count + 1)]

    def __len__(self) -> int:
        return len(self._cuts) - 1

    def __getitem__(self, index: int) -> Window:
        """The window at a position 0 .. len - 1."""
        cut = slice(self._cuts[index], self._cuts[index + 1])
        return Window(index, self._inputs[:, cut], self._targets[:, cut])

    def __iter__(self) -> Iterator[Window]:
        return self.starting_at(0, 0)

    def num_batches(self, epoch: int) -> int:  # noqa: ARG002 - every epoch reads the same windows
        """Windows in an epoch."""
        return len(self)

    def starting_at(self, epoch: int, position: int) -> Iterator[Window]:  # noqa: ARG002
        """The windows from a position to the end, the same ones in every epoch."""
        return (self[i] for i in range(position, len(self)))
