"""An HTTP server of a few lines, in the test's own event loop, over real sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson

from benchmarks.serving.client import Connect, connector
from benchmarks.serving.request import Count, Request

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Connect]:
    """Answer every request by this function; a connector to the server."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                await answer(await reader.readexactly(length), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield connector(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()


def whole(writer: asyncio.StreamWriter, body: bytes, status: str = "200 OK", more: str = "") -> None:
    writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body)


def begin_stream(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")


def chunk(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(body), body))


def request(number: int, *, is_streamed: bool = False) -> Request:
    return Request("/", orjson.dumps({"number": number}), count, is_streamed)


def streamed_request(number: int) -> Request:
    return request(number, is_streamed=True)


def count(data: bytes) -> Count:
    found = orjson.loads(data)
    return Count(found.get("tokens", 0), found.get("prompt", 0), found.get("output", 0), found.get("error"))
