"""How far one answer is from another: the one measure of every comparison, in numpy.

A number is held against the magnitudes of its own row, so that a banned token's -1e9 hides nothing: where the sorted
magnitudes of a row jump by more than 1,000, the numbers on the two sides are measured apart. A row is the last axis
that is longer than 1. Equal infinities are equal, and so are two NaN.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Doubles = NDArray[np.float64]

JUMP = 1000.0
# Float32 results of magnitude 1 differ by this much whatever the order of their sums; a number that is 1e-4 by chance,
# beside others of magnitude 1, is no more exact than they are. Relative to the tolerance of float32 graphs, 1e-5.
_ROUNDING = 4 * float(np.finfo(np.float32).eps) / 1e-5
_SMALLEST = float(np.finfo(np.float32).tiny)  # below it float32 loses digits
# A float64 answer that is further away than this share of the magnitude comes of another decision (argmax, a mask's
# finfo.min), and is no measure of rounding.
_MOST_OWN_ERROR = 1e-3
_BLOCK = 1 << 21  # numbers that are sorted at once


def scales(expected: Array) -> Doubles:
    """The magnitude that each number of an answer is held against.

    Args:
        expected: any shape and dtype.

    Returns:
        float64 of the same shape, above 0: the largest finite magnitude of the number's row, without those beyond a
        jump. Of numbers below a jump at least the rounding of what is above, as long as that is below 1,000 or below
        1,000 times their own magnitude.
    """
    sizes = [size for size in expected.shape if size != 1] or [1]
    rows = expected.reshape(-1, sizes[-1]) if expected.size else expected.reshape(0, 1)
    result = np.empty(rows.shape)
    block = max(1, _BLOCK // rows.shape[1])
    for start in range(0, len(rows), block):
        result[start : start + block] = _scales_of_rows(rows[start : start + block])
    return result.reshape(expected.shape)


def is_beyond_jump(expected: Array) -> NDArray[np.bool_]:
    """Which numbers are bans rather than results: infinite, NaN, or beyond a jump in their row's sorted magnitudes.

    Args:
        expected: any shape and dtype.

    Returns:
        bool of the same shape.
    """
    finite = np.where(np.isfinite(expected), np.abs(expected), 0).astype(np.float64)
    lowest = np.where(finite > 0, scales(expected), np.inf).min(axis=-1, keepdims=True, initial=np.inf)
    result: NDArray[np.bool_] = ~np.isfinite(expected) | (finite > JUMP * lowest)
    return result


def own_errors(answer: Array, precise: Array) -> Doubles:
    """How exact a float32 answer is, by the same computed in float64.

    Args:
        answer: float32, any shape.
        precise: float64, the same shape.

    Returns:
        float64 of the same shape: for each number the largest error among those of about its magnitude or less; what
        another decision makes of a number is no error. 0 where the shapes differ.
    """
    if answer.shape != precise.shape or not answer.size:
        return np.zeros(answer.shape)
    scale = scales(answer).ravel()
    errors = _absolute(answer, precise).ravel()
    errors[~(errors <= _MOST_OWN_ERROR * np.maximum(scale, _MOST_OWN_ERROR))] = 0
    order = scale.argsort()
    largest = np.maximum.accumulate(errors[order])
    last = np.searchsorted(scale[order], JUMP * np.maximum(scale, 1), side="right") - 1
    result: Doubles = largest[last].reshape(answer.shape)
    return result


def difference(found: Array, expected: Array, least: float = 0.0) -> Doubles:
    """Differences, each as a share of the magnitude that the number is held against.

    Args:
        found: any shape and dtype.
        expected: the same shape.
        least: no magnitude counts for less.

    Returns:
        float64 of the same shape; 0 where both are the same infinity or NaN, infinite where one of them is finite and
        the other is not. Integers and booleans are equal or infinitely far.
    """
    if expected.dtype.kind in "biu":
        return np.where(found == expected, 0.0, np.inf)
    return _absolute(found, expected) / np.maximum(scales(expected), least)


def allowed_difference(expected: Array, precise: Array | None, tolerance: float) -> Doubles:
    """What `difference` may be: a tolerance, or 4 times the float32 answer's own error where that is more.

    Args:
        expected: float32, what is compared with, any shape; integers and booleans are allowed nothing unless float64
            decides otherwise than float32.
        precise: float64, the same computed in float64; None where that is not known.
        tolerance: a share of the magnitude, such as 1e-5.

    Returns:
        float64 of the same shape.
    """
    if precise is None or precise.shape != expected.shape:
        return np.full(expected.shape, tolerance)
    if expected.dtype.kind in "biu":
        return np.where(precise == expected, tolerance, np.inf)
    return np.maximum(tolerance, 4 * own_errors(expected, precise) / scales(expected))


def _absolute(found: Array, expected: Array) -> Doubles:
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    is_same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        error = np.abs(found - expected)
    result: Doubles = np.where(is_same, 0.0, np.where(np.isnan(error), np.inf, error))
    return result


def _scales_of_rows(rows: Array) -> Doubles:
    """`scales` of [rows, numbers]."""
    magnitudes = np.where(np.isfinite(rows), np.abs(rows), 0).astype(np.float64)
    largest = magnitudes.max(axis=1, keepdims=True)
    result: Doubles = np.repeat(largest, rows.shape[1], axis=1)
    ascending = np.sort(magnitudes, axis=1)
    jumps = (ascending[:, :-1] > 0) & (ascending[:, 1:] > JUMP * ascending[:, :-1])
    jumping = np.flatnonzero(jumps.any(axis=1))
    if len(jumping):
        result[jumping] = _scales_apart(magnitudes[jumping], ascending[jumping], jumps[jumping])
    return np.maximum(result, _SMALLEST)


def _scales_apart(magnitudes: Doubles, ascending: Doubles, jumps: NDArray[np.bool_]) -> Doubles:
    """The same of rows with jumps; jumps: bool [rows, numbers - 1], between a number and the next larger one."""
    scale = np.zeros(magnitudes.shape)
    largest = ascending[:, -1:]
    while True:  # from the highest class down: its largest, and where the next one below begins
        in_class = (scale == 0) & (magnitudes <= largest)
        reach = JUMP * np.maximum(largest, 1)
        above = np.where(ascending <= reach, ascending, 0).max(axis=1, keepdims=True)
        scale[in_class] = np.broadcast_to(np.maximum(largest, _ROUNDING * above), scale.shape)[in_class]
        below = np.where(jumps & (ascending[:, :-1] < largest), ascending[:, :-1], 0).max(axis=1, keepdims=True)
        if not (below > 0).any():
            return scale
        is_below = (magnitudes <= below) & (below > 0)
        scale[is_below] = 0
        largest = np.where(below > 0, below, largest)
