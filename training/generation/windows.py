"""Documents as one token stream, the stream as lanes read in parallel, a lane as consecutive windows.

This is truncated backpropagation through time (Williams & Peng 1990): lane b of window k + 1 continues where lane b of
window k stopped, so the state can be carried. Every token but the first is a target exactly once.
"""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import DataError
from models.tokenizer import Tokenizer
from training.shard import Shard


def stream_from_documents(documents: Iterable[str], tokenizer: Tokenizer, *, has_ends: bool) -> NDArray[np.int64]:
    """Token ids of all documents in order, int64 [num_tokens].

    Where documents have ends the stream also begins with one: serving starts a document from the end token.

    Args:
        documents: texts.
        tokenizer: has an end_id where has_ends is set.
        has_ends: whether an end token follows each document.

    Raises:
        DataError: fewer than two tokens, so nothing could be predicted.
    """
    ids: list[int] = []
    end = [tokenizer.end_id] if has_ends and tokenizer.end_id is not None else []
    ids.extend(end)
    for document in documents:
        ids.extend(tokenizer.encode(document))
        ids.extend(end)
    if len(ids) < 2:
        raise DataError(f"the text gives {len(ids)} tokens; at least 2 are needed to predict one from another.")
    return np.asarray(ids, dtype=np.int64)


def num_characters(ids: NDArray[np.int64], tokenizer: Tokenizer) -> int:
    """How many characters the tokens stand for; a document's end counts as one.

    Args:
        ids: int64 [num_tokens].
        tokenizer: what made them.
    """
    ends = int((ids == tokenizer.end_id).sum()) if tokenizer.end_id is not None else 0
    return len(tokenizer.decode(ids.tolist())) + ends


IGNORED = -100  # a target that does not count: cross_entropy's ignore_index


class Window(NamedTuple):
    """One batch."""

    position: int  # in the epoch
    inputs: Tensor  # int64 [lanes, time]
    targets: Tensor  # int64 [lanes, time], the token after each input; IGNORED where a lane has ended
    num_targets: int  # without the ignored ones

    @classmethod
    def of(cls, position: int, inputs: Tensor, targets: Tensor) -> Self:
        """A window with its targets counted."""
        return cls(position, inputs, targets, int((targets != IGNORED).sum()))

    def shard(self, shard: Shard) -> Self:
        """See training.stage.Batch: some of the lanes, the same ones in every window."""
        part = self.of(self.position, shard.rows(self.inputs), shard.rows(self.targets))
        return part if part.num_targets else part._replace(targets=torch.zeros_like(part.targets))


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
        return Window.of(index, self._inputs[:, cut], self._targets[:, cut])

    def __iter__(self) -> Iterator[Window]:
        return self.starting_at(0, 0)

    def num_batches(self, epoch: int) -> int:  # noqa: ARG002 - every epoch reads the same windows
        """Windows in an epoch."""
        return len(self)

    def starting_at(self, epoch: int, position: int) -> Iterator[Window]:  # noqa: ARG002
        """The windows from a position to the end, the same ones in every epoch."""
        return (self[i] for i in range(position, len(self)))
