"""From the engine's thread to the event loop: news for each request, with at most one wake-up outstanding.

While the loop is busy with earlier news, later news gather and come together. So a loop that keeps up sends every
token by itself, and one that does not sends several in one event, instead of falling behind.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Generic, TypeVar

from models.errors import RequestError

News = TypeVar("News")


class Mailbox(Generic[News]):
    """Where one request's news arrive. Belongs to the event loop."""

    def __init__(self) -> None:
        self._updates: list[News] = []
        self._error: RequestError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: News | RequestError) -> None:
        """Add an update, or the error that ends the request; after an error nothing counts."""
        if isinstance(item, RequestError):
            self._error = self._error or item
        else:
            self._updates.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __reduce__(self) -> tuple[type["Mailbox[News]"], tuple[()]]:
        """In another process a mailbox is another one, and empty."""
        return Mailbox, ()

    async def take(self) -> list[News]:
        """All updates since the last call; waits for the first.

        Raises:
            RequestError: what was put in: the request has failed, or the client has left.
        """
        while not self._updates and self._error is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise self._error
        updates, self._updates = self._updates, []
        return updates


class Delivery(ABC):
    """Carries an engine's news into mailboxes. For the engine's thread."""

    @abstractmethod
    def post(self, mailbox: Mailbox[News], item: News | RequestError) -> None:
        """Add news; `flush` sends them."""

    @abstractmethod
    def flush(self) -> None:
        """Send what has been posted."""

    def rest(self) -> None:
        """The engine has nothing to do for a while: send whatever else there is."""
        return


class LoopDelivery(Delivery):
    """Into mailboxes of an event loop of this process.

    Args:
        loop: the loop that the mailboxes belong to.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._outbox: deque[tuple[Mailbox[Any], Any]] = deque()
        self._is_waking = False

    def post(self, mailbox: Mailbox[News], item: News | RequestError) -> None:
        """See Delivery."""
        self._outbox.append((mailbox, item))

    def flush(self) -> None:
        """Wake the loop if there are news and it has not been woken already."""
        if self._outbox and not self._is_waking:
            self._is_waking = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to hear
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._outbox:
            mailbox, item = self._outbox.popleft()
            mailbox.put(item)
        # Runs after the requests that were just woken have written what they got.
        self._loop.call_soon(self._rest)

    def _rest(self) -> None:
        self._is_waking = False  # first, so that news posted from here on wake the loop themselves
        if self._outbox:
            self._is_waking = True
            self._loop.call_soon(self._deliver)
