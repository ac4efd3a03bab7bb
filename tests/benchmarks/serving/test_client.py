import asyncio
import time

import pytest

from benchmarks.serving.client import connector
from benchmarks.serving.loops import run
from tests.benchmarks.serving.tiny_server import begin_stream, chunk, serving, whole


def test_whole_answers_come_over_one_kept_connection() -> None:
    writers: list[asyncio.StreamWriter] = []

    async def echo(body: bytes, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        whole(writer, body, more="X-Number: 7\r\n")

    async def load() -> None:
        async with serving(echo) as connect:
            client = await connect()
            for body in (b"a", b"b" * 300_000):
                status, headers, answer = await client.post("/", body)
                assert (status, headers["x-number"], answer) == (200, "7", body)
            client.close()

    run(load())
    assert len(writers) == 2
    assert writers[0] is writers[1]


def test_the_request_carries_its_path_and_headers() -> None:
    heads: list[bytes] = []

    async def load() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(2)
            whole(writer, b"")
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        client = await connector(server.sockets[0].getsockname()[1])()
        await client.post("/v1/x", b"{}", {"x-request-timeout-ms": "5"})
        client.close()
        server.close()
        await server.wait_closed()

    run(load())
    assert heads[0].startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert b"\r\nx-request-timeout-ms: 5\r\n" in heads[0]


def test_events_are_stamped_when_they_come_however_they_are_cut_into_chunks() -> None:
    sent: list[float] = []

    async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        for piece in (b"data: 1\n\n", b"data: 2", b"\n\ndata: 3\n\n", b"data: 4\n\ndata: [DONE]\n\n", b""):
            sent.append(time.perf_counter())
            chunk(writer, piece)
            await writer.drain()
            await asyncio.sleep(0.03)

    async def load() -> None:
        async with serving(answer) as connect:
            client = await connect()
            status, _, events = await client.stream("/", b"{}")
            assert status == 200
            assert [event.data for event in events] == [b"1", b"2", b"3", b"4"]
            assert client.is_usable
            times = [event.time for event in events]
            assert times[0] < times[1] == times[2] < times[3]  # two came together
            assert all(begun < at for begun, at in zip((sent[0], sent[2], sent[2], sent[3]), times, strict=True))
            client.close()

    run(load())


def test_an_error_instead_of_a_stream_is_one_event() -> None:
    async def full(body: bytes, writer: asyncio.StreamWriter) -> None:
        whole(writer, b'{"error": 1}', "429 Too Many Requests")

    async def load() -> None:
        async with serving(full) as connect:
            client = await connect()
            status, _, events = await client.stream("/", b"{}")
            assert (status, [event.data for event in events]) == (429, [b'{"error": 1}'])
            client.close()

    run(load())


@pytest.mark.parametrize("cut", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"])
def test_a_connection_cut_off_in_the_middle_is_an_error_and_not_used_again(cut: bytes) -> None:
    async def die(body: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(cut)
        writer.close()

    async def load() -> None:
        async with serving(die) as connect:
            client = await connect()
            with pytest.raises(ConnectionError, match="before its answer was whole"):
                await client.post("/", b"{}")
            assert not client.is_usable

    run(load())
