"""A concurrency limiter that computes when those it refuses should try again. Belongs to the event loop: no locks."""

import math

from server.errors import OverloadedError

_MOST_RETRY_AFTER = 60  # seconds
_SHARE_OF_LAST = 0.1  # of the latest request in the running mean


class Limiter:
    """How many requests are inside at once; each holds a permit until its answer is sent.

    A client that is refused gets a Retry-After: as long as the requests inside take to make room for it
    and for those that were refused before it, if all go on as the latest ones did.

    Args:
        name: what is limited, for the message.
        limit: how many permits there are; may be changed.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self.limit = limit
        self._mean_seconds = 0.0  # that a permit is held
        self._num_refused = 0  # and not yet made room for
        self.num_taken = 0  # permits

    def take(self) -> None:
        """Take one; give it back with `give_back`. Raises OverloadedError: all are taken."""
        if self.num_taken >= self.limit:
            self._num_refused += 1
            expected = self._num_refused * self._mean_seconds / self.limit
            seconds = min(max(1, math.ceil(expected)), _MOST_RETRY_AFTER)  # HTTP knows no fractions
            raise OverloadedError(
                f"{self._name} is full: {self.limit} requests are running or waiting. "
                f"Try again in {seconds} s, or raise RNNSERVE_MAX_REQUESTS.",
                headers={"retry-after": str(seconds)},
            )
        self.num_taken += 1

    def give_back(self, seconds: float) -> None:
        """Give one back that was held for so many seconds."""
        self.num_taken -= 1
        self._num_refused = max(0, self._num_refused - 1)
        share = _SHARE_OF_LAST if self._mean_seconds else 1.0
        self._mean_seconds += share * (seconds - self._mean_seconds)
