"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): each is one JSON object."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.errors import ApiError, ClientGoneError, InternalError
from server.http.access import json_of

log = structlog.get_logger()
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # the second keeps nginx from holding events back


class EventStream(Response):
    """Sends events as they come, then `data: [DONE]`.

    An error after the first event is an event of its own; the status has been sent.

    Args:
        first: the first event: it is there before the stream begins, so that errors before it have a status.
        rest: gives the others; closed when the stream is over, however that comes.
    """

    media_type = "text/event-stream"

    def __init__(self, first: dict[str, Any], rest: AsyncGenerator[dict[str, Any]]) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._first = first
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send the stream. Raises ClientGoneError when the client has left."""

        async def send_event(data: bytes, *, is_last: bool = False) -> None:
            body = b"data: " + data + b"\n\n"
            await send({"type": "http.response.body", "body": body, "more_body": not is_last})

        async with contextlib.aclosing(self._rest) as rest:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                await send_event(json_of(self._first))
                async for event in rest:
                    await send_event(json_of(event))
            except ClientGoneError:
                raise  # to the record of the request
            except ApiError as error:
                await send_event(json_of(error.body))
            except Exception:
                log.exception("stream failed")
                await send_event(json_of(InternalError().body))
        await send_event(b"[DONE]", is_last=True)
