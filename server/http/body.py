"""Reading a request's body, within a limit of size and of time."""

import asyncio
from collections.abc import Iterable

from starlette.types import Receive

from server.errors import BodyTooLargeError, ClientGoneError, DeadlineError, FieldError, shown
from server.http.access import discard_body
from server.settings import Settings

HEADER = "x-request-timeout-ms"
MOST_MS = 600_000


def timeout_seconds(headers: Iterable[tuple[bytes, bytes]], default_ms: int) -> float:
    """The time that a request may take, from its arrival.

    Args:
        headers: names in lower case, and values, as ASGI gives them.
        default_ms: when the header is absent.

    Raises:
        FieldError: the header is no whole number from 1 to MOST_MS.
    """
    for name, value in headers:
        if name == HEADER.encode():
            text = value.decode("latin-1").strip()
            if not (text.isascii() and text.isdigit() and len(text) <= 7 and 1 <= int(text) <= MOST_MS):
                raise FieldError(
                    f"{HEADER}: must be a whole number of milliseconds from 1 to {MOST_MS} (got {shown(text)}).",
                    param=HEADER,
                )
            return int(text) / 1000
    return default_ms / 1000


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
            closing = {"connection": "close"}  # the body may come or not: where the next request begins is unknown
        else:
            await discard_body(receive)
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
                await discard_body(receive)
            raise BodyTooLargeError(_sentence(f"over {limit} bytes", limit))
        if not message.get("more_body", False):
            return b"".join(chunks)


def _sentence(found: str, limit: int) -> str:
    return f"The body is {found}; at most {limit} are allowed (RNNSERVE_MAX_BODY_BYTES)."
