"""One kept HTTP/1.1 connection, by hand: a client library would take more CPU time than the server it measures.

Speaks what benchmarks need: POST with a body, answers with a length or in chunks. The time of arrival is taken when the
bytes come, before they are looked at.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, cast

Connect = Callable[[], Awaitable["Client"]]
_SEPARATOR = b"\r\n\r\n"


class Event(NamedTuple):
    """One server-sent event.

    Attributes:
        time: when its last byte came, by time.perf_counter.
        data: what stands after `data: `.
    """

    time: float
    data: bytes


class Client(asyncio.Protocol):
    """One connection, for one request at a time. Made by `connect`."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._arrived = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self.is_usable = True  # for another request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has its methods and not its type

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._arrived = time.perf_counter()
        self._buffer += data
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """See asyncio.Protocol."""
        self._closed = True
        self.is_usable = False
        self._wake()

    @property
    def has_begun(self) -> bool:
        """Whether anything of the latest answer has come."""
        return self._arrived > 0

    def close(self) -> None:
        """Close the connection."""
        self.is_usable = False
        self._transport.close()

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request and wait for its whole answer.

        Args:
            path: such as /v1/generate.
            body: JSON.
            headers: more of them.

        Returns:
            Status, headers (names in small letters) and body.

        Raises:
            ConnectionError: the server closed the connection or its answer is not HTTP/1.1 as expected.
        """
        status, found = await self._ask(path, body, headers)
        if "chunked" not in found.get("transfer-encoding", ""):
            answer = await self._read(int(found.get("content-length", "0")))
        else:
            answer = b""
            while piece := await self._chunk():
                answer += piece
        self._done(found)
        return status, found, answer

    async def stream(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], list[Event]]:
        """Send a request and wait for all events of its answer.

        An answer that is no event stream, such as an error, comes as one event.

        Args:
            path: as for `post`.
            body: as for `post`.
            headers: as for `post`.

        Returns:
            Status, headers and events, without `[DONE]`.

        Raises:
            ConnectionError: as for `post`.
        """
        status, found = await self._ask(path, body, headers)
        if not found.get("content-type", "").startswith("text/event-stream"):
            answer = await self._read(int(found.get("content-length", "0")))
            self._done(found)
            return status, found, [Event(self._arrived, answer)]
        events: list[Event] = []
        rest = b""
        while piece := await self._chunk():
            *whole, rest = (rest + piece).split(b"\n\n")
            for event in whole:
                data = event.removeprefix(b"data: ")
                if data != b"[DONE]":
                    events.append(Event(self._arrived, data))
        self._done(found)
        return status, found, events

    async def _ask(self, path: str, body: bytes, headers: Mapping[str, str] | None) -> tuple[int, dict[str, str]]:
        if not self.is_usable:
            raise ConnectionError("the connection is closed")
        self.is_usable, self._arrived = False, 0.0  # until the answer is whole
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        more += f"content-type: application/json\r\ncontent-length: {len(body)}"
        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{more}"
        self._transport.write(head.encode() + _SEPARATOR + body)
        answer = (await self._until(_SEPARATOR)).decode("latin-1")
        first, *lines = answer.split("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1."):
            raise ConnectionError(f"the server answered {answer[:80]!r}, which is not HTTP/1.1")
        return int(rest[:3]), found

    def _done(self, headers: Mapping[str, str]) -> None:
        """The answer is whole: the connection can be used again, unless the server means to close it."""
        self.is_usable = not self._closed and headers.get("connection", "").lower() != "close"

    async def _chunk(self) -> bytes:
        """The next chunk of a chunked body; empty at its end."""
        size = int((await self._until(b"\r\n")).partition(b";")[0], 16)
        return (await self._read(size + 2))[:size]

    async def _until(self, mark: bytes) -> bytes:
        """Everything before the next mark, which is taken too."""
        while (found := self._buffer.find(mark)) < 0:
            await self._more()
        taken = bytes(self._buffer[:found])
        del self._buffer[: found + len(mark)]
        return taken

    async def _read(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._more()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def _more(self) -> None:
        """Wait for bytes."""
        if self._closed:
            raise ConnectionError("the server closed the connection before its answer was whole")
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def connector(port: int, host: str = "127.0.0.1") -> Connect:
    """A function that opens a connection to this port.

    Its coroutine raises OSError when nobody listens there.
    """

    async def connect() -> Client:
        _, client = await asyncio.get_running_loop().create_connection(Client, host, port)
        return client

    return connect
