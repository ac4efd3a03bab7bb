"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): each is one JSON object."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import orjson
import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from server.errors import ApiError, ClientGoneError, InternalError


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


log = structlog.get_logger()
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # the second keeps nginx from holding events back


class EventStream(Response):
    """Sends events as they come, then `data: [DONE]`.

    An error after the first event is an event of its own; the status has been sent.

    Args:
        first: the first event: it is there before the stream begins, so that errors before it have a status.
        rest: gives the others; closed when the stream is over, however that comes.
        send_timeout: seconds that a client may take nothing before it counts as gone, so that one that never reads
            does not hold its permit and its rows without end.
    """

    media_type = "text/event-stream"

    def __init__(self, first: dict[str, Any], rest: AsyncGenerator[dict[str, Any]], send_timeout: float) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._first = first
        self._rest = rest
        self._send_timeout = send_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send the stream. Raises ClientGoneError when the client has left or takes nothing."""
        send = _impatient(send, self._send_timeout)
        async with contextlib.aclosing(self._rest) as rest:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                await send(_chunk(self._first))
                async for event in rest:
                    await send(_chunk(event))
            except ClientGoneError:
                raise  # to the record of the request
            except ApiError as error:
                await send(_chunk(error.body))
            except Exception:
                log.exception("stream failed")
                await send(_chunk(InternalError("Something went wrong in the server; its log says what.").body))
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": False})


def _impatient(send: Send, seconds: float) -> Send:
    """The same `send`, which gives up on a client that takes nothing for so long."""

    async def send_in_time(message: Message) -> None:
        try:
            async with asyncio.timeout(seconds):
                await send(message)
        except TimeoutError:
            raise ClientGoneError(f"The client took nothing for {seconds:g} s.") from None

    return send_in_time


def _chunk(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "http.response.body",
        "body": b"data: " + orjson.dumps(event, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n\n",
        "more_body": True,
    }
