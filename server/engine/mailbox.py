"""Where the news of one request wait for whoever answers it."""

import asyncio
from typing import Generic, TypeVar

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
