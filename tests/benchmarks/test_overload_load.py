"""The load against a real server with a fake model, and against servers that do what a server must not."""

import asyncio
import mmap
import os
from collections.abc import Iterator
from itertools import cycle

import pytest

from benchmarks.operation import overload_load
from benchmarks.operation.overload_load import Outcomes, Overload, rss_of
from benchmarks.operation.overload_requests import NO_ANSWER, Ask, asks
from benchmarks.serving.client import connector
from benchmarks.serving.loops import run
from tests.server.running import running

PLAIN = Ask("plain", "plain", b'{"prompt": "a", "max_tokens": 5}', frozenset({200, 429}))


def outcomes_of(
    port: int, requests: Iterator[Ask], *, permits: int, seconds: float = 1.0, rate: float = 60
) -> Outcomes:
    load = Overload(connector(port), port, os.getpid(), permits)
    return run(load.run(requests, rate, seconds, seed=1))


def outcomes_beside(answer: bytes, request: Ask = PLAIN) -> Outcomes:
    """Of a server that answers every request with the same bytes."""

    async def serve() -> Outcomes:
        async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.read(1 << 16):
                writer.write(answer)
            writer.close()

        server = await asyncio.start_server(respond, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        load = Overload(connector(port), port, os.getpid(), permits=3)
        found = await load.run(cycle([request]), rate=40, seconds=0.5, seed=1)
        server.close()
        return found

    return run(serve())


def test_a_server_that_keeps_its_word_has_no_wrong_answer_and_every_request_is_counted_once() -> None:
    characters = list("abcdefgh ")
    with running(max_requests=2, max_rows=2) as server:
        found = outcomes_of(server.port, asks(characters, seed=1), permits=2, seconds=3.0, rate=200)
        server.until(lambda: server.service.num_requests == 0)
    assert found.num_wrong == 0, found.wrong
    assert found.hung == found.refused_with_room == 0
    total = sum(found.kinds.values())
    assert total == sum(sum(second.values()) for second in found.statuses)
    assert 450 < total < 750
    statuses = {status for _, status in found.kinds}
    assert {200, 429, NO_ANSWER} <= statuses
    assert len({400, 404, 413, 422} & statuses) >= 2  # which of them depends on when there was room
    assert found.kinds["plain", 200] == len(found.latencies) == len(found.ends)
    assert len(found.rss) >= 3


@pytest.mark.parametrize("status", [500, 503, 504])
def test_an_answer_that_is_not_allowed_is_told(status: int) -> None:
    found = outcomes_beside(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % status)
    assert found.num_wrong == found.kinds["plain", status] > 0
    assert found.wrong[0] == f"plain, plain: status {status}"


def test_a_refusal_with_room_is_told() -> None:
    assert outcomes_beside(b"HTTP/1.1 429 No\r\ncontent-length: 0\r\n\r\n").refused_with_room > 0


def test_an_answer_that_is_cut_is_wrong() -> None:
    found = outcomes_beside(b"HTTP/1.1 200 OK\r\ncontent-length: zehn\r\n\r\n")
    assert found.num_wrong > 0
    assert "ValueError" in found.wrong[0]


def test_a_request_without_an_answer_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload_load, "HANGS", 0.2)
    found = outcomes_beside(b"")
    assert found.hung == found.num_wrong > 0


def test_one_who_leaves_is_no_failure_and_what_it_saw_counts() -> None:
    leaving = Ask("leaves", "leaves", b"{}", frozenset({NO_ANSWER, 200}), stay=0.05, is_reset=True)
    assert set(outcomes_beside(b"", leaving).kinds) == {("leaves", NO_ANSWER)}
    assert set(outcomes_beside(b"HTTP/1.1 200 OK\r\n", leaving).kinds) == {("leaves", 200)}
    assert outcomes_beside(b"HTTP/1.1 500 No\r\n", leaving).num_wrong > 0


def test_memory_is_read_of_the_process_that_is_named() -> None:
    before = rss_of(os.getpid())
    with mmap.mmap(-1, 64 << 20) as held:  # memory that the process has not had before
        held.write(b"x" * (64 << 20))
        assert rss_of(os.getpid()) - before > 32 << 20
