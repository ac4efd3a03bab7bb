"""Picking an id by its weight: the inverse of the cumulative weights. Knows arrays only.

A cumulative sum is slow, because each addition waits for the one before. So for a wide vocabulary it has two levels:
blocks of weights are summed first (fast), the cumulative sum runs over blocks, and then inside the one block that
holds the answer. For a narrow one that would only be more calls. The width alone decides.
"""

import numpy as np
from numpy.typing import NDArray

NARROW = 256  # widths up to this have one level
BLOCK = 64  # weights to a block, above it


Weights = NDArray[np.float32] | NDArray[np.float64]


def weights_of(z: NDArray[np.float32]) -> Weights:
    """exp(z) for `inverse_cdf`.

    Args:
        z: float32 [n, width].

    Returns:
        [n, width or more]; what is more is 0. Rounded to float32; of a narrow width held as the float64 that they are
        summed in.
    """
    width = z.shape[1]
    if width <= NARROW:
        return np.exp(z).astype(np.float64)
    padded = np.zeros((len(z), -(-width // BLOCK) * BLOCK), np.float32)
    np.exp(z, out=padded[:, :width])
    return padded


def inverse_cdf(weights: Weights, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first index at which the cumulative weight exceeds the uniform share of the whole.

    Args:
        weights: as weights_of gives them; not negative, finite, some of each row positive. They are written over.
        uniforms: float64 [n], in [0, 1).

    Returns:
        int64 [n]; the weight at each is positive.
    """
    if weights.shape[1] <= NARROW:
        sums = np.add.accumulate(weights, axis=1, out=weights)
        # What is wanted is always below the whole, for a uniform is at most 1 - 2^-53.
        return _first_above(sums, uniforms * sums[:, -1])
    each = np.arange(len(weights))
    blocks = weights.reshape(len(weights), -1, BLOCK)
    sums = np.cumsum(blocks.sum(axis=2), axis=1, dtype=np.float64)
    wanted = uniforms * sums[:, -1]
    block = _first_above(sums, wanted)
    wanted -= np.where(block > 0, sums[each, block - 1], 0.0)
    inside = np.cumsum(blocks[each, block], axis=1, dtype=np.float64)
    # The two sums of a block may differ in the last bits; what is wanted must lie inside this one.
    found: NDArray[np.int64] = _first_above(inside, np.minimum(wanted, np.nextafter(inside[:, -1], 0.0)))
    found += block * BLOCK
    return found


def _first_above(sums: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first index in each row of sums, [n, k], that exceeds wanted, [n]; 0 if there is none."""
    first: NDArray[np.int64] = (sums > wanted[:, None]).argmax(axis=1)
    return first
