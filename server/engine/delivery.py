"""From the engine's thread to the event loop: news for each request, with at most one wake-up outstanding.

While the loop is busy with earlier news, later news gather and come together. So a loop that keeps up sends every
token by itself, and one that does not sends several in one event, instead of falling behind.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import deque
from typing import Any

from server.engine.mailbox import Mailbox
from server.engine.request import EngineRequest


class Delivery(ABC):
    """Carries an engine's news into mailboxes. For the engine's thread."""

    @abstractmethod
    def post(self, request: EngineRequest, item: Any) -> None:
        """Add news for a request's mailbox; `flush` sends them."""

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

    def post(self, request: EngineRequest, item: Any) -> None:
        """See Delivery."""
        self._outbox.append((request.mailbox, item))

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
