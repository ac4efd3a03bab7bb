"""Reading a request's body, within a limit."""

from collections.abc import Iterable

from starlette.types import Receive

from server.errors import BodyTooLargeError, ClientGoneError


async def read_body(headers: Iterable[tuple[bytes, bytes]], receive: Receive, limit: int) -> bytes:
    """The whole body.

    A body over the limit is read to its end and thrown away before the error is raised: a client that is still
    sending when the connection closes would see a reset instead of the answer. One that asked first
    (Expect: 100-continue) is answered at once.

    Args:
        headers: the request's.
        receive: the ASGI channel.
        limit: bytes.

    Raises:
        BodyTooLargeError: Content-Length says so, or so many bytes came.
        ClientGoneError: the client left.
    """
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
