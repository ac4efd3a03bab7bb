"""How the slots of a lane are shared between requests. Pure.

Most slots are common. The reserved ones, an eighth of eight or more, are for small requests: those that fit with all
that they still need into the free reserved slots, and hold no common slot. Rows are never preempted, so without
reserved slots a small request would wait for a large one to end; with them it does not, however many large ones run.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class SlotQuota:
    """What one request holds.

    Attributes:
        num_slots: its slots.
        num_reserved: those of them that are reserved ones.
    """

    num_slots: int = 0
    num_reserved: int = 0


class SlotAllocator:
    """Counts who holds what.

    Args:
        num_slots: of the lane, at least 1.

    Attributes:
        num_common: slots for all requests.
        num_taken: slots that are held.
    """

    def __init__(self, num_slots: int) -> None:
        self.num_common = num_slots - (max(1, num_slots // 8) if num_slots >= 8 else 0)
        self.num_taken = 0
        self._num_slots = num_slots
        self._num_reserved = 0  # reserved slots that are held

    def is_common_free(self, width: int) -> bool:
        """Whether so many common slots are free."""
        return self.num_taken - self._num_reserved + width <= self.num_common

    def is_reserve_free(self, quota: SlotQuota, num_wanted: int) -> bool:
        """Whether a request is small: all that it still needs fits into the free reserved slots."""
        holds_common = quota.num_slots > quota.num_reserved
        num_free = self._num_slots - self.num_common - self._num_reserved
        return not holds_common and num_wanted <= num_free and self.num_taken + num_wanted <= self._num_slots

    def take(self, quota: SlotQuota, width: int, *, is_reserved: bool) -> None:
        """Give a request so many slots."""
        self._change(quota, width, is_reserved=is_reserved)

    def free(self, quota: SlotQuota, width: int, *, is_reserved: bool) -> None:
        """Take so many slots of a request back."""
        self._change(quota, -width, is_reserved=is_reserved)

    def _change(self, quota: SlotQuota, width: int, *, is_reserved: bool) -> None:
        self.num_taken += width
        quota.num_slots += width
        if is_reserved:
            self._num_reserved += width
            quota.num_reserved += width
