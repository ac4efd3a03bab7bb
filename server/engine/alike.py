"""Texts of like length, to be read in one call without much padding. Pure."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from runtime.padding import padded_length

Item = TypeVar("Item")


def alike(items: Sequence[Item], length: Callable[[Item], int], budget: int, most: int) -> list[Item]:
    """Which of the waiting texts are read with the first, in one call.

    Those whose padded length has as many binary digits as the first's, so that less than half of what is read is
    padding; of these the ones nearest in length to the first, so that as a rule it is much less.

    Args:
        items: the texts in the order of their turns, at least one.
        length: tokens of a text.
        budget: padded tokens of the call; the first is taken whatever its length.
        most: texts of the call, at least 1.

    Returns:
        The first and those that go with it, shortest first.
    """
    first = items[0]
    digits = padded_length(length(first)).bit_length()
    similar = [item for item in items if padded_length(length(item)).bit_length() == digits]
    similar.sort(key=length)  # stable: of equally long ones the earlier comes first
    low = high = next(i for i, item in enumerate(similar) if item is first)
    while high - low + 1 < most:
        shorter = length(first) - length(similar[low - 1]) if low else None
        longer = length(similar[high + 1]) - length(first) if high + 1 < len(similar) else None
        if shorter is None and longer is None:
            break
        takes_longer = shorter is None or (longer is not None and longer <= shorter)
        longest = similar[high + 1 if takes_longer else high]
        if (high - low + 2) * padded_length(length(longest)) > budget:
            break
        if takes_longer:
            high += 1
        else:
            low -= 1
    return similar[low : high + 1]
