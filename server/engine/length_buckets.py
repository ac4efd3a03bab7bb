"""Length bucketing: which of the waiting texts are read in one call. Pure.

A call costs about T x (STEP_ROWS + n): T is the padded length of its longest text, n the number of its texts, and a
step of the recurrence costs STEP_ROWS rows' worth even without rows. So few texts are read together although much of
the call is padding, and many are read in calls of like length.
"""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from runtime.padding import padded_length

Item = TypeVar("Item")
# 5 to 7 of the shipped English classifier, int8, from calls of 1 and 16 texts (`python -m benchmarks sentiment`).
STEP_ROWS = 6


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
    lengths = [padded_length(length(items[i])) for i in order]
    best, best_cost = (first, first), math.inf
    total_high = 0  # tokens from the first to `high`
    for high in range(first, len(items)):
        total_high += lengths[high]
        total = total_high
        for low in range(first, -1, -1):
            num_items = high - low + 1
            if num_items > max_items or num_items * lengths[high] > max_tokens:
                break
            if low < first:
                total += lengths[low]
            cost = lengths[high] * (STEP_ROWS + num_items) / total
            if cost < best_cost:
                best, best_cost = (low, high), cost
    return [items[i] for i in order[best[0] : best[1] + 1]]
