"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): each is one JSON object."""

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.errors import ApiError, ClientGoneError, InternalError
from server.http.access import ErrorShape, json_of

log = structlog.get_logger()
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}  # the second keeps nginx from holding events back


class EventStream(Response):
    """Sends events as they come, then, where the dialect has it so, `data: [DONE]`.

    An error after the first event is an event of its own; the status has been sent.

    Args:
        first: the first event: it is there before the stream begins, so that errors before it have a status.
        rest: gives the others; closed when the stream is over, however that comes.
        shape: of an error's event; None for our own.
        has_done: whether `data: [DONE]` is the last event.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        first: dict[str, Any],
        rest: AsyncGenerator[dict[str, Any]],
        *,
        shape: ErrorShape | None = None,
        has_done: bool = True,
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._first = first
        self._rest = rest
        self._shape = shape
        self._has_done = has_done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Send the stream. Raises ClientGoneError when the client has left."""

        async def send_event(data: bytes) -> None:
            await send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})

        async with contextlib.aclosing(self._rest) as rest:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                await send_event(json_of(self._first))
                async for event in rest:
                    await send_event(json_of(event))
            except ClientGoneError:
                raise  # to the record of the request
            except ApiError as error:
                await send_event(self._error_event(error))
            except Exception:
                log.exception("stream failed")
                await send_event(self._error_event(InternalError()))
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n" if self._has_done else b""})

    def _error_event(self, error: ApiError) -> bytes:
        return json_of(error.body if self._shape is None else self._shape(error)[1])
