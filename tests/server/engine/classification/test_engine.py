import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import pytest

from server.engine.classification.engine import ClassificationEngine
from server.engine.classification.request import TextBatch
from server.engine.classification.scheduler import ClassificationScheduler
from server.engine.lane import NICENESS
from server.errors import EngineError, UnavailableError
from tests.server.engine.counts import Counts
from tests.server.fake_runner import FakeSequenceRunner

VOCAB_SIZE = 50
BAD = 500  # a token that is in no vocabulary


@dataclass
class Rig:
    engine: ClassificationEngine
    sequences: FakeSequenceRunner
    counts: Counts

    def submit(self, *texts: list[int]) -> TextBatch:
        request = TextBatch()
        for tokens in texts:
            request.add_text(tokens)
        self.engine.submit(request)
        return request

    async def until_running(self, num_texts: int) -> None:
        while self.engine.gauges.num_running < num_texts:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def rig(
    max_rows: int = 64, max_tokens: int = 1024, *, num_lanes: int = 1, long_tokens: int = 1 << 20
) -> AsyncIterator[Rig]:
    sequences, counts = FakeSequenceRunner(VOCAB_SIZE), Counts()
    scheduler = ClassificationScheduler(max_texts=max_rows, max_tokens=max_tokens, long_tokens=long_tokens)
    engine = ClassificationEngine(
        "fake", "classify", lambda: sequences, scheduler, num_lanes=num_lanes, observer=counts
    )
    engine.start(asyncio.get_running_loop())
    try:
        yield Rig(engine, sequences, counts)
    finally:
        if sequences.gate is not None:
            sequences.gate.set()
        assert await asyncio.to_thread(engine.stop, 30)


async def answer(request: TextBatch) -> list[list[float]]:
    found: dict[int, list[float]] = {}
    while len(found) < len(request.items):
        for result in await request.outputs.get():
            assert result.number not in found
            found[result.number] = result.logits.tolist()
    return [found[number] for number in range(len(found))]


def plainly(tokens: list[int]) -> list[float]:
    ids = np.zeros((1, -(-len(tokens) // 16) * 16), np.int64)
    ids[0, : len(tokens)] = tokens
    found = FakeSequenceRunner(VOCAB_SIZE).run("classify", {"ids": ids, "lengths": np.array([len(tokens)], np.int32)})
    logits: list[float] = found["logits"][0].tolist()
    return logits


def some_texts(rng: np.random.Generator) -> list[list[int]]:
    count = int(rng.choice([1, 1, 3, 20]))
    return [rng.integers(1, VOCAB_SIZE, int(rng.integers(1, 200))).tolist() for _ in range(count)]


def test_64_mixed_requests_are_the_same_alone_and_together_and_some_leave() -> None:
    rng = np.random.default_rng(0)

    async def main(max_rows: int, max_tokens: int) -> None:
        async with rig(max_rows, max_tokens, num_lanes=2) as running:
            staying, leaving = [], []
            for _ in range(64):
                texts = some_texts(rng)
                request = running.submit(*texts)
                if rng.random() < 0.2:
                    leaving.append(request)
                else:
                    staying.append((asyncio.create_task(answer(request)), texts))
                await asyncio.sleep(float(rng.choice([0, 0, 0.001])))
                if leaving:
                    running.engine.cancel(leaving[rng.integers(len(leaving))])
            for request in leaving:
                running.engine.cancel(request)
            for task, texts in staying:
                assert await task == [plainly(tokens) for tokens in texts]
            assert max(running.counts.classified_rows) <= max_rows
            assert running.engine.gauges.num_waiting == 0

    for max_rows, max_tokens in ((1, 16), (64, 256), (64, 8192)):
        asyncio.run(main(max_rows, max_tokens))


def test_what_waits_when_the_runtime_is_free_goes_together_by_length() -> None:
    async def main() -> None:
        async with rig() as running:
            running.sequences.gate = threading.Event()
            requests = [running.submit([1] * 5)]
            await running.until_running(1)
            requests += [running.submit([2] * length) for length in (200, 9, 150, 3, 16)]
            running.sequences.gate.set()
            for request in requests:
                await answer(request)
            assert running.sequences.calls == [(5,), (150, 200), (3, 9, 16)]

    asyncio.run(main())


def test_a_short_text_waits_for_no_long_call_when_all_lanes_make_long_ones() -> None:
    async def main() -> None:
        async with rig(max_rows=1, num_lanes=2, long_tokens=64) as running:
            gate = running.sequences.gate = threading.Event()
            requests = [running.submit([number] * 100) for number in range(1, 4)] + [running.submit([4] * 9)]
            await running.until_running(3)
            assert running.engine.gauges[:2] == (3, 1)  # the short text is in a call of its own
            running.engine.cancel(requests[0])  # its call runs on, and its result is dropped
            gate.set()
            for number, request in enumerate(requests[1:], start=2):
                assert await answer(request) == [plainly([number] * (9 if number == 4 else 100))]
            while running.engine.gauges.num_running:
                await asyncio.sleep(0.001)
            assert sorted(running.sequences.calls) == [(9,), (100,), (100,), (100,)]

    asyncio.run(main())


def test_a_request_of_many_texts_does_not_keep_a_small_one_waiting() -> None:
    async def main() -> None:
        async with rig(max_rows=8, max_tokens=64) as running:
            gate = running.sequences.gate = threading.Event()
            giant = running.submit(*[[1] * 10] * 256)
            small = running.submit([2] * 14)
            gate.set()
            await answer(small)
            await answer(giant)
            assert min(i for i, lengths in enumerate(running.sequences.calls) if 14 in lengths) <= 2

    asyncio.run(main())


def test_a_failed_call_fails_the_requests_in_it_and_no_others() -> None:
    async def main() -> None:
        async with rig() as running:
            running.sequences.fails_at = BAD
            gate = running.sequences.gate = threading.Event()
            bad, good = running.submit([1] * 100, [BAD]), running.submit([1] * 60)
            gate.set()
            with pytest.raises(EngineError):
                await answer(bad)
            assert await answer(good) == [plainly([1] * 60)]

    asyncio.run(main())


def test_numbers_that_are_not_finite_fail_their_own_request_alone() -> None:
    async def main() -> None:
        async with rig() as running:
            running.sequences.is_broken_at = BAD
            gate = running.sequences.gate = threading.Event()
            first = running.submit([3])
            await running.until_running(1)
            good, bad = running.submit([4]), running.submit([5], [BAD], [6])
            gate.set()
            with pytest.raises(EngineError, match="not finite"):
                await answer(bad)
            assert await answer(first) + await answer(good) == [plainly([3]), plainly([4])]

    asyncio.run(main())


def test_stopping_tells_everyone_who_waits() -> None:
    async def main() -> None:
        async with rig() as running:
            gate = running.sequences.gate = threading.Event()
            running.submit([1])
            await running.until_running(1)
            waiting = running.submit([2])
            stopping = asyncio.create_task(asyncio.to_thread(running.engine.stop, 10))
            await asyncio.sleep(0.01)
            gate.set()
            await stopping
            with pytest.raises(UnavailableError):
                await answer(waiting)

    asyncio.run(main())


def test_a_lane_that_ends_by_a_bug_fails_everyone_and_says_so() -> None:
    async def main() -> None:
        async with rig() as running:
            running.engine._scheduler.is_long = None  # type: ignore[method-assign,assignment]
            with pytest.raises(EngineError):
                await asyncio.wait_for(answer(running.submit([1])), 10)
            with pytest.raises(EngineError, match="restart"):
                running.submit([1])
            while running.engine.is_alive:
                await asyncio.sleep(0.001)

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="priorities are of threads on Linux alone")
def test_lanes_have_a_lower_priority_than_the_event_loop() -> None:
    def niceness_by_name() -> dict[str, int]:
        return {
            thread.name: os.getpriority(os.PRIO_PROCESS, thread.native_id)
            for thread in threading.enumerate()
            if thread.native_id is not None
        }

    async def main() -> None:
        async with rig() as running:
            await answer(running.submit([1, 2, 3]))
            found = niceness_by_name()
            own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            assert found["lane fake 0"] == min(19, own + NICENESS) > own

    asyncio.run(main())
