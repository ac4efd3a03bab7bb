"""Reading a request's body, within a limit of size and of time."""

import asyncio
from collections.abc import Iterable

from starlette.types import Receive

from server.deadline import HEADER, timeout_seconds
from server.errors import BodyTooLargeError, ClientGoneError, DeadlineError, FieldError
from server.settings import Settings

# Seconds that a body is given however short the request's time is: one that is on its way is let come, because a client
# that is still sending when the connection closes sees a reset instead of the answer.
_LEAST_SECONDS = 5.0


async def read_body(headers: Iterable[tuple[bytes, bytes]], receive: Receive, settings: Settings) -> bytes:
    """The whole body, which must come within the time that the request has.

    A body over the limit is read to its end and thrown away before the error is raised: a client that is still
    sending when the connection closes would see a reset instead of the answer. One that asked first
    (Expect: 100-continue) is answered at once.

    Args:
        headers: the request's.
        receive: the ASGI channel.
        settings: the server's.

    Raises:
        BodyTooLargeError: Content-Length says so, or so many bytes came.
        ClientGoneError: the client left.
        DeadlineError: the request's time is over, and at least 5 s.
    """
    try:
        seconds = timeout_seconds(headers, settings.request_timeout_ms)
    except FieldError:  # is answered once the body is here
        seconds = settings.request_timeout_ms / 1000
    seconds = max(seconds, _LEAST_SECONDS)
    try:
        async with asyncio.timeout(seconds):
            return await _whole(headers, receive, settings.max_body_bytes)
    except TimeoutError:
        message = f"The body was not here after {round(seconds)} s. Send it faster, or a larger {HEADER}."
        raise DeadlineError(message, headers={"connection": "close"}) from None


async def _whole(headers: Iterable[tuple[bytes, bytes]], receive: Receive, limit: int) -> bytes:
    """The whole body, of at most so many bytes. Raises BodyTooLargeError, ClientGoneError."""
    named = dict(headers)
    announced = named.get(b"content-length", b"")
    if announced.isdigit() and int(announced[:20]) > limit:
        closing = {}
        if named.get(b"expect", b"").lower() == b"100-continue":
            closing = {"connection": "close"}  # the body may come or not: nothing after it could be told apart
        else:
            await _discard(receive)
        raise BodyTooLargeError(_sentence(f"{int(announced[:20])} bytes", limit), headers=closing)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("The client left while it was sending.")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            if message.get("more_body", False):
                await _discard(receive)
            raise BodyTooLargeError(_sentence(f"over {limit} bytes", limit))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _discard(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("The client left while it was sending.")
        if not message.get("more_body", False):
            return


def _sentence(found: str, limit: int) -> str:
    return f"The body is {found}; at most {limit} are allowed (RNNSERVE_MAX_BODY_BYTES)."
