"""Length bucketing: which of the waiting texts are read in one call. Pure.

A call costs about T x (STEP_ROWS + n): T is the padded length of its longest text, n the number of its texts, and a
step of the recurrence costs STEP_ROWS rows' worth even without rows. So few texts are read together although much of
the call is padding, and many are read in calls of like length.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from runtime.padding import padded_length

Item = TypeVar("Item")
STEP_ROWS = 6  # measured for classifiers of 2 x 128 to 2 x 512, int8


def length_bucket(items: Sequence[Item], length: Callable[[Item], int], max_tokens: int, max_items: int) -> list[Item]:
    """The first item and those read with it: of all calls that have the first, the cheapest for each token.

    Args:
        items: the texts in round-robin order, at least one. Time grows with the square of their number.
        length: tokens of a text.
        max_tokens: padded tokens of the call; the first is taken whatever its length.
        max_items: texts of the call, at least 1.

    Returns:
        The first and those that go with it, shortest first.
    """
    order = sorted(range(len(items)), key=lambda i: length(items[i]))  # stable: of equals the earlier comes first
    first = order.index(0)
    lengths = np.array([padded_length(length(items[i])) for i in order])
    totals = np.concatenate([[0], lengths.cumsum()])
    lows, highs = np.arange(first + 1), np.arange(first, len(items))[:, None]
    longest = lengths[first:, None]
    num_items = highs - lows + 1
    is_allowed = (num_items <= max_items) & (num_items * longest <= max_tokens)
    is_allowed[0, first] = True
    costs = longest * (STEP_ROWS + num_items) / (totals[highs + 1] - totals[lows])
    high, low = np.unravel_index(np.where(is_allowed, costs, np.inf).argmin(), costs.shape)
    return [items[i] for i in order[int(low) : first + int(high) + 1]]
