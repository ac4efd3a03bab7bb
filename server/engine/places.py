"""How the places of a batch are shared between requests. Pure.

Most places are for everybody. The others, an eighth of eight or more, are for small requests: those that fit with all
that they still want into what is free of them, and hold no place of the others. Rows are never put out, so without
them a small request would wait for a giant one to end; with them it does not, however many giants there are.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Share:
    """What one request holds.

    Attributes:
        num_places: its places.
        num_reserved: those of them that are for small requests.
    """

    num_places: int = 0
    num_reserved: int = 0


class Places:
    """Counts who holds what.

    Args:
        num_places: of the batch, at least 1.

    Attributes:
        num_common: places for everybody.
        num_taken: places that are held.
    """

    def __init__(self, num_places: int) -> None:
        self.num_common = num_places - (max(1, num_places // 8) if num_places >= 8 else 0)
        self.num_taken = 0
        self._num_places = num_places
        self._num_reserved = 0  # taken ones that are for small requests

    def is_common_free(self, width: int) -> bool:
        """Whether so many places for everybody are free."""
        return self.num_taken - self._num_reserved + width <= self.num_common

    def is_reserve_free(self, share: Share, num_wanted: int) -> bool:
        """Whether a request is small: it fits into the free places for small ones with all that it still wants."""
        is_outside = share.num_places > share.num_reserved
        num_free = self._num_places - self.num_common - self._num_reserved
        return not is_outside and num_wanted <= num_free and self.num_taken + num_wanted <= self._num_places

    def take(self, share: Share, width: int, *, is_reserved: bool) -> None:
        """Give a request so many places."""
        self._change(share, width, is_reserved=is_reserved)

    def free(self, share: Share, width: int, *, is_reserved: bool) -> None:
        """Take so many places of a request back."""
        self._change(share, -width, is_reserved=is_reserved)

    def _change(self, share: Share, width: int, *, is_reserved: bool) -> None:
        self.num_taken += width
        share.num_places += width
        if is_reserved:
            self._num_reserved += width
            share.num_reserved += width
