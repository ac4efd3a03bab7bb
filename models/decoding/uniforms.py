"""Random numbers that depend on nothing but their key: (seed, choice, position) -> one uniform number.

SplitMix64 (Steele, Lea & Flood 2014, "Fast Splittable Pseudorandom Number Generators", section 5) read as a
counter-based generator: its state after p + 1 steps is key + (p + 1) * GAMMA, so the number at any position is had
without the ones before. With mix64 the paper's finalizer (Stafford's variant 13) and all sums modulo 2^64:

    key(seed, choice)       = mix64(mix64(seed + GAMMA) + (choice + 1) * GAMMA)
    counter(key, position)  = key + (position + 1) * GAMMA
    uniform(counter)        = the upper 53 of the 64 bits of mix64(counter), times 2^-53: in [0, 1)

So a sampled token is the same alone, in any batch, beside a cancelled row, and when a sequence is resumed.
"""

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
# The same and the widths of the shifts for arrays: made once, for making them takes as long as using them.
_NP_GAMMA, _NP_FIRST, _NP_SECOND = np.uint64(_GAMMA), np.uint64(_FIRST), np.uint64(_SECOND)
_NP_11, _NP_27, _NP_30, _NP_31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)


def stream_key(seed: int, choice: int) -> int:
    """The key of one continuation's random numbers.

    Args:
        seed: 0 .. 2^63 - 1.
        choice: which of the samples of its prompt this is, from 0.
    """
    return _mix(_mix(seed + _GAMMA) + (choice + 1) * _GAMMA)


def uniforms(keys: NDArray[np.uint64], positions: NDArray[np.int64], num_steps: int = 1) -> NDArray[np.float64]:
    """The uniform numbers of each row's next positions.

    Args:
        keys: uint64 [n], from `stream_key`.
        positions: int64 [n], the absolute position in its sequence of the token that is to be chosen, from 0.
        num_steps: how many positions from there on.

    Returns:
        float64 [num_steps, n], each in [0, 1).
    """
    z = keys + positions.astype(np.uint64) * _NP_GAMMA
    z = z + _NP_GAMMA * np.arange(1, num_steps + 1, dtype=np.uint64)[:, None]
    z ^= z >> _NP_30
    z *= _NP_FIRST
    z ^= z >> _NP_27
    z *= _NP_SECOND
    z ^= z >> _NP_31
    z >>= _NP_11
    numbers: NDArray[np.float64] = z * 2.0**-53
    return numbers


def _mix(z: int) -> int:
    """mix64 on one Python integer."""
    z &= _MASK
    z = (z ^ (z >> 30)) * _FIRST & _MASK
    z = (z ^ (z >> 27)) * _SECOND & _MASK
    return z ^ (z >> 31)
