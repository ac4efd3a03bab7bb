import asyncio
from time import perf_counter

import numpy as np
import orjson

from benchmarks.serving.loops import all_at_once, closed_loop, open_loop, poisson_arrivals, run
from benchmarks.serving.record import Record
from tests.benchmarks.serving.tiny_server import begin_stream, chunk, request, serving, streamed_request, whole


class Counting:
    """Answers after a while and counts who is inside."""

    def __init__(self, seconds: float) -> None:
        self.numbers: list[int] = []
        self.num_inside = self.most_inside = 0
        self._seconds = seconds

    async def __call__(self, body: bytes, writer: asyncio.StreamWriter) -> None:
        self.numbers.append(orjson.loads(body)["number"])
        self.num_inside += 1
        self.most_inside = max(self.most_inside, self.num_inside)
        await asyncio.sleep(self._seconds)
        self.num_inside -= 1
        whole(writer, b'{"tokens": 5, "prompt": 2}')


def test_a_closed_loop_has_as_many_requests_out_as_clients() -> None:
    server = Counting(0.02)

    async def load() -> list[Record]:
        async with serving(server) as connect:
            return await closed_loop(connect, 4, 0.3, request)

    records = run(load())
    assert server.most_inside == 4
    assert sorted(server.numbers) == list(range(len(server.numbers)))
    assert len(server.numbers) - 4 <= len(records) <= len(server.numbers)  # those out at the end do not count
    assert all((record.output_tokens, record.prompt_tokens, record.error) == (5, 2, None) for record in records)


def test_what_ends_in_the_warm_up_does_not_count() -> None:
    server = Counting(0.02)

    async def load() -> tuple[float, list[Record]]:
        async with serving(server) as connect:
            started = perf_counter()
            return started, await closed_loop(connect, 2, 0.2, request, warm_up=0.2)

    started, records = run(load())
    assert len(records) < len(server.numbers) - 4
    assert all(started + 0.2 <= record.end <= started + 0.5 for record in records)


def test_an_open_loop_does_not_wait_for_answers_and_counts_from_the_schedule() -> None:
    arrivals = poisson_arrivals(100, 0.3, seed=3)

    async def stall(body: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.5)  # longer than all arrivals take
        whole(writer, b'{"tokens": 1}')

    async def load() -> list[Record]:
        async with serving(stall) as connect:
            return await open_loop(connect, 100, 0.3, 3, request)

    records = run(load())
    scheduled = np.array([record.scheduled for record in records])
    np.testing.assert_allclose(scheduled - scheduled[0], arrivals - arrivals[0], atol=1e-6)
    assert max(record.sent for record in records) < min(record.end for record in records)
    assert all(record.sent >= record.scheduled for record in records)
    assert all(record.error is None for record in records)


def test_a_client_that_falls_behind_is_not_excused() -> None:
    """The loop is blocked for 0.2 s: requests due meanwhile are sent late, and their latency says so."""

    async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
        whole(writer, b"{}")

    async def load() -> list[Record]:
        async with serving(answer) as connect:
            loop = asyncio.get_running_loop()
            loop.call_later(0.1, block, 0.2)
            return await open_loop(connect, 200, 0.4, 1, request)

    def block(seconds: float) -> None:
        until = perf_counter() + seconds
        while perf_counter() < until:
            pass

    records = run(load())
    late = [record for record in records if record.sent - record.scheduled > 0.1]
    assert late
    assert all(record.e2el > 0.1 for record in late)


def test_arrivals_are_poisson_and_come_again_from_their_seed() -> None:
    arrivals = poisson_arrivals(1000, 50, seed=0)
    gaps = np.diff(arrivals)
    assert abs(len(arrivals) / 50_000 - 1) < 0.03
    assert abs(gaps.std() / gaps.mean() - 1) < 0.03  # of an exponential distribution they are equal
    assert (gaps >= 0).all()
    assert arrivals[-1] < 50
    np.testing.assert_array_equal(arrivals, poisson_arrivals(1000, 50, seed=0))
    assert len(arrivals) != len(poisson_arrivals(1000, 50, seed=1))


def test_all_at_once_is_all_at_once() -> None:
    server = Counting(0.2)

    async def load() -> list[Record]:
        async with serving(server) as connect:
            return await all_at_once(connect, 20, request)

    records = run(load())
    assert server.most_inside == 20
    assert len(records) == 20
    assert len({round(record.scheduled, 2) for record in records}) <= 2


def test_errors_are_in_the_records_and_the_loop_goes_on() -> None:
    async def moody(body: bytes, writer: asyncio.StreamWriter) -> None:
        number = orjson.loads(body)["number"]
        if number % 3 == 0:
            writer.close()
        elif number % 3 == 1:
            whole(writer, b'{"error": "full"}', "429 Too Many Requests")
        else:
            whole(writer, b'{"tokens": 1}')

    async def load() -> tuple[list[Record], list[Record]]:
        async with serving(moody) as connect:
            return await closed_loop(connect, 1, 0.2, request), await open_loop(connect, 100, 0.2, 0, request)

    for records in run(load()):
        assert {record.status for record in records} == {0, 200, 429}
        assert all((record.error is None) == (record.status == 200) for record in records)


def test_tokens_of_a_stream_are_counted_for_each_event() -> None:
    async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        for event in ({"tokens": 0}, {"tokens": 3}, {"tokens": 2}, {"tokens": 1, "prompt": 9, "output": 6}):
            chunk(writer, b"data: " + orjson.dumps(event) + b"\n\n")
            await writer.drain()
            await asyncio.sleep(0.01)
        chunk(writer, b"data: [DONE]\n\n")
        chunk(writer, b"")

    async def load() -> list[Record]:
        async with serving(answer) as connect:
            return await all_at_once(connect, 1, streamed_request)

    (record,) = run(load())
    assert record.event_tokens == [3, 2, 1]
    assert len(record.event_times) == 3
    assert (record.prompt_tokens, record.output_tokens) == (9, 6)
    assert record.end == record.event_times[-1]


def test_an_error_inside_a_stream_fails_the_request() -> None:
    async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        chunk(writer, b'data: {"tokens": 1}\n\ndata: {"error": "broken"}\n\n')
        chunk(writer, b"")

    async def load() -> list[Record]:
        async with serving(answer) as connect:
            return await all_at_once(connect, 1, streamed_request)

    (record,) = run(load())
    assert (record.status, record.error) == (200, "broken")
