"""The text as windows for both directions, each with the wrong tokens that its right ones are distinguished from."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.buckets import generator_of
from training.language_model.windows import Windows


class TwoWayWindow(NamedTuple):
    """One batch.

    Attributes:
        position: in the epoch.
        num_targets: that count, of both directions.
        inputs: for each direction int64 [lanes, time].
        targets: for each direction int64 [lanes, time]; language_model.windows.IGNORED where a lane has ended.
        negatives: int64 [K].
    """

    position: int
    num_targets: int
    inputs: list[Tensor]
    targets: list[Tensor]
    negatives: Tensor


class TwoWayWindows:
    """See training.task.Batches. The second direction reads the same text from its end.

    Args:
        ids: int64 [num_tokens].
        directions: 1 or 2.
        lanes: parts read side by side.
        length: the most time steps in a window.
        weights: float64 [V], how likely each token is to be drawn as a negative; they sum to 1.
        negatives: K.
        seed: of the draws.
    """

    def __init__(
        self,
        ids: NDArray[np.int64],
        *,
        directions: int,
        lanes: int,
        length: int,
        weights: NDArray[np.float64],
        negatives: int,
        seed: int,
    ) -> None:
        texts = (ids, np.ascontiguousarray(ids[::-1]))[:directions]
        self._windows = [Windows(text, lanes=lanes, length=length) for text in texts]
        self._edges = np.cumsum(weights)
        self._num_negatives = negatives
        self._seed = seed

    def num_batches(self, epoch: int) -> int:
        """Windows in an epoch."""
        return self._windows[0].num_batches(epoch)

    def starting_at(self, epoch: int, position: int) -> Iterator[TwoWayWindow]:
        """An epoch's windows from a position to its end."""
        for number in range(position, self.num_batches(epoch)):
            windows = [each[number] for each in self._windows]
            uniforms = generator_of(self._seed, epoch, number).random(self._num_negatives)
            drawn = np.minimum(np.searchsorted(self._edges, uniforms, side="right"), len(self._edges) - 1)
            yield TwoWayWindow(
                number,
                sum(window.num_targets for window in windows),
                [window.inputs for window in windows],
                [window.targets for window in windows],
                torch.from_numpy(drawn.astype(np.int64)),
            )
