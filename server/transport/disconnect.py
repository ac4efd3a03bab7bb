"""Noticing that the client has left while its answer is being made."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from starlette.types import Receive


@contextlib.asynccontextmanager
async def watched(receive: Receive, on_gone: Callable[[], None]) -> AsyncIterator[None]:
    """Call on_gone once if the client leaves inside the block.

    Args:
        receive: the ASGI channel; the body has been read.
        on_gone: called in the event loop.
    """

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        on_gone()

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
