"""Clients that try to exhaust a server, each kind in its own way, from 127.0.0.2. Loopback only.

python -m benchmarks.operation.attackers NAME PORT SECONDS
python -m benchmarks.operation.attackers sink PORT SECONDS     takes what attackers send, and answers nothing
"""

import asyncio
import contextlib
import resource
import sys
from collections.abc import Awaitable, Callable

import orjson
import uvloop

FROM = ("127.0.0.2", 0)
PATH = "/v1/generate"
_GET = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int], Awaitable[None]]


def post(body: object, path: str = PATH) -> bytes:
    """A request as bytes."""
    content = orjson.dumps(body)
    return (
        b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % (path.encode(), len(content)) + content
    )


async def pipelined(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
    """Requests without end, and nothing is read."""
    while True:
        writer.write(_GET * 1000)
        await writer.drain()


async def headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
    """A head without end."""
    writer.write(b"GET / HTTP/1.1\r\n")
    while True:
        writer.write(b"x: " + b"y" * 8000 + b"\r\n")
        await writer.drain()


async def idle(_: asyncio.StreamReader, __: asyncio.StreamWriter, ___: int) -> None:
    """Connections that say nothing."""
    await asyncio.Event().wait()


async def slow_heads(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
    """A byte of the head now and then."""
    for byte in b"GET /livez HTTP/1.1\r\nx: " + b"y" * 1000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.5)


async def bodies(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
    """Most of a large body, and then no more."""
    writer.write(
        b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n" % PATH.encode() + b"x" * 900_000
    )
    await writer.drain()
    await asyncio.Event().wait()


async def slow_bodies(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: int) -> None:
    """Bodies of which a byte comes now and then, so that every connection is in use."""
    writer.write(b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n{" % PATH.encode())
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.5)


async def pages(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
    """The largest pages that need no permit."""
    while True:
        for path in (b"/metrics", b"/openapi.json"):
            writer.write(b"GET %b HTTP/1.1\r\nhost: localhost\r\n\r\n" % path)
            head = await reader.readuntil(b"\r\n\r\n")
            (length,) = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))


async def unread_streams(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    """Long streams that nobody reads."""
    writer.write(post({"prompt": "a", "max_tokens": 4096, "stream": True, "logprobs": 20, "seed": number}))
    await writer.drain()
    await asyncio.Event().wait()


async def heavy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    """Small requests for as much work as can be asked for."""
    largest = {"prompt": ["a"] * 64, "n": 16, "max_tokens": 4096, "logprobs": 20}
    large = {"prompt": ["a"] * 4, "n": 4, "max_tokens": 2048, "logprobs": 5, "seed": number}
    while True:
        for body in (largest, large):
            writer.write(post(body))
            await reader.readuntil(b"\r\n\r\n")


async def long_prompts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    """Prompts of the greatest length."""
    for turn in range(1000):
        writer.write(post({"prompt": f"{number} {turn} " + "abcd" * 8000, "max_tokens": 10}))
        await reader.readuntil(b"\r\n\r\n")


async def fields(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: int) -> None:
    """Bodies whose check would take long."""
    unknown = post({f"field{i}": i for i in range(50_000)})
    biases = post({"prompt": "a", "logit_bias": {str(i): "x" for i in range(50_000)}})
    while True:
        for request in (unknown, biases):
            writer.write(request)
            await reader.readuntil(b"\r\n\r\n")


async def permits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    """As many long requests at once as one client gets."""
    while True:
        writer.write(post({"prompt": "a", "max_tokens": 1000, "seed": number}))
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.05)


async def cancels(_: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    """Requests that are left at once."""
    writer.write(post({"prompt": ["a"] * 16, "n": 4, "max_tokens": 1000, "seed": number}))
    await asyncio.sleep(0.005)
    writer.transport.abort()


ATTACKS: dict[str, tuple[Attack, int]] = {  # name -> what each connection does, and how many there are at once
    "pipelined": (pipelined, 50),
    "headers": (headers, 50),
    "idle": (idle, 1500),
    "slow_heads": (slow_heads, 300),
    "bodies": (bodies, 200),
    "slow_bodies": (slow_bodies, 1200),
    "pages": (pages, 50),
    "unread_streams": (unread_streams, 76),
    "heavy": (heavy, 20),
    "long_prompts": (long_prompts, 64),
    "fields": (fields, 20),
    "permits": (permits, 80),
    "cancels": (cancels, 40),
}


async def attack(name: str, port: int, seconds: float) -> int:
    """Attack for so long; how many connections were made."""
    act, at_once = ATTACKS[name]
    num_made = 0

    async def one(number: int) -> None:
        nonlocal num_made
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=FROM)
                num_made += 1
                try:
                    await act(reader, writer, number)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(one(number)) for number in range(at_once)]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return num_made


async def sink(port: int, seconds: float) -> int:
    """Take connections and what they send for so long."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):  # at its end
            while await reader.read(1 << 16):
                pass
        writer.close()

    async with await asyncio.start_server(take, "127.0.0.1", port, backlog=2048):
        await asyncio.sleep(seconds)
    return 0


def main(arguments: list[str]) -> None:
    """Run one of them; prints what it gives."""
    name, port, seconds = arguments[0], int(arguments[1]), float(arguments[2])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(8192, hard)), hard))
    print(uvloop.run(sink(port, seconds) if name == "sink" else attack(name, port, seconds)))


if __name__ == "__main__":
    main(sys.argv[1:])
