"""Token ids of several texts as one array, padded so that padding cannot change a bit of any row's answer.

Sums over time (attention, pooling) are exact against padding only when the padded length is a multiple of the widest
vector that the runtime sums with, 16 floats; so texts that are read by such graphs are padded to multiples of 16.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.tasks import PADDING_MULTIPLE

MULTIPLE = PADDING_MULTIPLE


def padded_length(longest: int) -> int:
    """The smallest multiple of 16 that holds so many positions."""
    return -(-longest // MULTIPLE) * MULTIPLE


def padded(texts: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Inputs of a graph that reads whole texts, such as `encode` and `classify`.

    Args:
        texts: token ids, each with at least one.

    Returns:
        ids int64 [batch, time], 0 past each text's end, time a multiple of 16; lengths int32 [batch].
    """
    lengths = np.array([len(text) for text in texts], np.int32)
    ids = np.zeros((len(texts), padded_length(int(lengths.max()))), np.int64)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = text
    return ids, lengths
