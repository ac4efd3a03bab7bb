"""Picking an id by its weight: the inverse of the cumulative weights, in two levels. Knows arrays only.

A cumulative sum over a vocabulary is slow, because each addition waits for the one before. So blocks of weights are
summed first (fast), the cumulative sum runs over blocks, and then inside the one block that holds the answer.
"""

import numpy as np
from numpy.typing import NDArray

BLOCK = 64  # weights to a block


def blank_weights(num_rows: int, width: int) -> NDArray[np.float32]:
    """Zeros, float32 [num_rows, width rounded up to whole blocks]: fill the first `width` columns."""
    return np.zeros((num_rows, -(-width // BLOCK) * BLOCK), np.float32)


def inverse_cdf(weights: NDArray[np.float32], uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first index at which the cumulative weight exceeds the uniform share of the whole.

    Args:
        weights: float32 [n, whole blocks], not negative, some of each row positive.
        uniforms: float64 [n], in [0, 1).

    Returns:
        int64 [n]; the weight at each is positive.
    """
    each = np.arange(len(weights))
    blocks = weights.reshape(len(weights), -1, BLOCK)
    sums = np.cumsum(blocks.sum(axis=2).astype(np.float64), axis=1)
    wanted = uniforms * sums[:, -1]  # always below the sum, for a uniform is at most 1 - 2^-53
    block = np.minimum(np.count_nonzero(sums <= wanted[:, None], axis=1), blocks.shape[1] - 1)
    before = np.where(block > 0, sums[each, block - 1], 0.0)
    inside = np.cumsum(blocks[each, block].astype(np.float64), axis=1)
    # The two sums of a block may differ in the last bits; what is wanted must lie inside this one.
    wanted = np.minimum(wanted - before, np.nextafter(inside[:, -1], 0.0))
    offset = np.minimum(np.count_nonzero(inside <= wanted[:, None], axis=1), BLOCK - 1)
    found: NDArray[np.int64] = block * BLOCK + offset
    return found
