"""What requests hold while they are inside, and how much of it there is: permits, tokens, and bytes of bodies.

Everything here belongs to the event loop.
"""

import math
import time
from typing import TYPE_CHECKING

from server.errors import FieldError, OverloadedError

if TYPE_CHECKING:
    from server.http.access import Record

SMALL_BODY = 64 << 10  # bytes
_MOST_RETRY_AFTER = 60  # seconds
_SHARE_OF_LAST = 0.1  # of the latest request in the running mean


def has_its_share(limit: int, num_taken: int, num_held: int, num_clients: int) -> bool:
    """Whether a client has what it may have of something that is nearly all taken: the last quarter is for clients that
    hold less than their share, which is the limit by their number. So no client keeps all others out.

    Args:
        limit: how many there are; of less than 8 none are kept for others.
        num_taken: by all clients.
        num_held: by this one.
        num_clients: that hold any.
    """
    reserve = limit // 4 if limit >= 8 else 0
    share = limit // (num_clients + (not num_held))
    return limit - num_taken <= reserve and num_held >= max(1, share - reserve)


class Shares:
    """Something of which there is so much, and what each client holds of it.

    Args:
        limit: how much there is; may be changed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.num_taken = 0
        self._by_client: dict[str, int] = {}

    def held(self, client: str) -> int:
        """What a client holds."""
        return self._by_client.get(client, 0)

    def is_spent(self, client: str) -> bool:
        """Whether a client `has_its_share`."""
        return has_its_share(self.limit, self.num_taken, self.held(client), len(self._by_client))

    def add(self, client: str, number: int) -> None:
        """A client holds so many more; negative: fewer."""
        self.num_taken += number
        held = self._by_client[client] = self.held(client) + number
        if not held:
            del self._by_client[client]


class Limiter:
    """How many requests are inside at once, and how many tokens they may need together.

    Each request holds a permit until its answer is sent. A request that needs few tokens may go beyond their limit by
    an eighth, so that large ones do not keep small ones out. Of both no client has more than `has_its_share` allows.

    A client that is refused gets a Retry-After: as long as the requests inside take to make room for it
    and for those that were refused before it, if all go on as the latest ones did.

    Args:
        name: what is limited, for the message.
        limit: how many permits there are.
        max_tokens: of all requests inside; None for no limit.

    Attributes:
        permits: that requests hold.
        tokens: that they may need.
    """

    def __init__(self, name: str, limit: int, max_tokens: int | None = None) -> None:
        self.permits = Shares(limit)
        self.tokens = Shares(max_tokens or 0)
        self._name = name
        self._mean_seconds = 0.0  # that a permit is held
        self._num_refused = 0  # and not yet made room for

    def has_permit(self, client: str) -> bool:
        """Whether there is a permit for a client."""
        return self.permits.num_taken < self.permits.limit and not self.permits.is_spent(client)

    def check(self, client: str) -> None:
        """Refuse a client for whom there is no permit. Raises OverloadedError."""
        permits = self.permits
        if permits.num_taken >= permits.limit:
            self._refuse(f"is full: {permits.limit} requests are running or waiting", "RNNSERVE_MAX_REQUESTS")
        if permits.is_spent(client):
            held = f"{permits.held(client)} of its {permits.limit} requests are yours"
            self._refuse(f"is nearly full, and {held}", "RNNSERVE_MAX_REQUESTS")

    def take(self, record: "Record") -> None:
        """Take a permit; give it back with `give_back`. Raises OverloadedError: there is none for this client."""
        self.check(record.client)
        self.permits.add(record.client, 1)

    def take_tokens(self, record: "Record", num_tokens: int, param: str) -> None:
        """Let a request need so many tokens, of which it may hold some; they are given back with its permit.

        Args:
            record: the request's.
            num_tokens: at least 0.
            param: the field that decides them, for the error.

        Raises:
            FieldError: they are more than all requests together may need.
            OverloadedError: they are too many beside those of the requests inside.
        """
        tokens, most = self.tokens, self.tokens.limit
        if not most:
            return
        if num_tokens > most:
            raise FieldError(
                f"{param}: the request may need {num_tokens} tokens: those of its texts, and for each answer its most, "
                f"times 1 + logprobs. At most {most} are allowed (RNNSERVE_MAX_PENDING_TOKENS). Send fewer texts in a "
                "request, or ask for fewer tokens.",
                param=param,
                code="request_too_large",
            )
        is_small = num_tokens <= most // 256
        tokens.add(record.client, -record.held_tokens)
        record.held_tokens = 0
        is_full = tokens.num_taken + num_tokens > most + (most // 8 if is_small else 0)
        if is_full or (not is_small and tokens.is_spent(record.client)):
            why = f"{num_tokens} more do not fit" if is_full else f"{tokens.held(record.client)} of them are yours"
            self._refuse(f"has {tokens.num_taken} tokens to work on; {why}", "RNNSERVE_MAX_PENDING_TOKENS")
        tokens.add(record.client, num_tokens)
        record.held_tokens = num_tokens

    def give_back(self, record: "Record") -> None:
        """Give a request's permit back, and the tokens that it holds."""
        seconds = time.perf_counter() - record.started
        self.permits.add(record.client, -1)
        self.tokens.add(record.client, -record.held_tokens)
        record.held_tokens = 0
        self._num_refused = max(0, self._num_refused - 1)
        share = _SHARE_OF_LAST if self._mean_seconds else 1.0
        self._mean_seconds += share * (seconds - self._mean_seconds)

    def _refuse(self, found: str, setting: str) -> None:
        self._num_refused += 1
        expected = self._num_refused * self._mean_seconds / self.permits.limit
        seconds = min(max(1, math.ceil(expected)), _MOST_RETRY_AFTER)  # HTTP knows no fractions
        raise OverloadedError(
            f"{self._name} {found}. Try again in {seconds} s, or raise {setting}.",
            headers={"retry-after": str(seconds)},
        )


class HeldBytes(Shares):
    """The bytes of all bodies whose requests are inside; the last eighth is for small ones, and of the others no client
    has more than `has_its_share` allows.
    """

    def take(self, record: "Record", num_bytes: int) -> None:
        """Add bytes of a request's body; they are given back at its end. Raises OverloadedError."""
        is_small = record.held_bytes + num_bytes <= SMALL_BODY
        limit = self.limit if is_small else self.limit - self.limit // 8
        if self.num_taken + num_bytes > limit or (not is_small and self.is_spent(record.client)):
            raise OverloadedError(
                f"The bodies of all requests inside would have over {self.limit} bytes, or yours more than their share "
                "(RNNSERVE_MAX_HELD_BYTES). Try again in a moment, or send less at once.",
                code="bodies_full",
                headers={"retry-after": "1"},
            )
        self.add(record.client, num_bytes)
        record.held_bytes += num_bytes

    def give_back(self, record: "Record") -> None:
        """A request is over."""
        self.add(record.client, -record.held_bytes)
        record.held_bytes = 0
