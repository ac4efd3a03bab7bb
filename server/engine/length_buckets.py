"""Length bucketing: which of the waiting texts are read in one call, so that little of it is padding. Pure."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from runtime.padding import padded_length

Item = TypeVar("Item")


def length_bucket(items: Sequence[Item], length: Callable[[Item], int], max_tokens: int, max_items: int) -> list[Item]:
    """The first item and those that are read with it in one call.

    Only texts whose padded length has as many binary digits as the first's, so that less than half of what is read is
    padding; of these the ones nearest in length to the first.

    Args:
        items: the texts in the order of their turns, at least one.
        length: tokens of a text.
        max_tokens: padded tokens of the call; the first is taken whatever its length.
        max_items: texts of the call, at least 1.

    Returns:
        The first and those that go with it, shortest first.
    """
    first = items[0]
    digits = padded_length(length(first)).bit_length()
    similar = [item for item in items if padded_length(length(item)).bit_length() == digits]
    similar.sort(key=length)  # stable: of equally long ones the earlier comes first
    low = high = next(i for i, item in enumerate(similar) if item is first)
    while high - low + 1 < max_items:
        shorter = length(first) - length(similar[low - 1]) if low else None
        longer = length(similar[high + 1]) - length(first) if high + 1 < len(similar) else None
        if shorter is None and longer is None:
            break
        takes_longer = shorter is None or (longer is not None and longer <= shorter)
        longest = similar[high + 1 if takes_longer else high]
        if (high - low + 2) * padded_length(length(longest)) > max_tokens:
            break
        if takes_longer:
            high += 1
        else:
            low -= 1
    return similar[low : high + 1]
