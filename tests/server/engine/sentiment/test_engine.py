import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from server.engine.delivery import LoopDelivery
from server.engine.sentiment.engine import LONG, SentimentEngine
from server.engine.sentiment.request import Classification

from server.errors import EngineError, UnavailableError
from tests.server.engine.counts import Counts
from tests.server.fake_runner import FakeSequenceRunner

VOCAB_SIZE = 50
BAD = 500  # a token that is in no vocabulary


@dataclass
class Rig:
    engine: SentimentEngine
    sequences: FakeSequenceRunner
    counts: Counts

    def submit(self, *texts: list[int]) -> Classification:
        classification = Classification(list(texts))
        self.engine.submit(classification)
        return classification


@asynccontextmanager
async def rig(
    max_rows: int = 64, classify_tokens: int = 1024, num_runners: int = 1, long: int = LONG
) -> AsyncIterator[Rig]:
    sequences, counts = FakeSequenceRunner(VOCAB_SIZE), Counts()
    engine = SentimentEngine(
        "fake",
        [sequences] * num_runners,
        max_rows=max_rows,
        classify_tokens=classify_tokens,
        observer=counts,
        long=long,
    )
    engine.start(LoopDelivery(asyncio.get_running_loop()))
    try:
        yield Rig(engine, sequences, counts)
    finally:
        if sequences.gate is not None:
            sequences.gate.set()
        engine.stop()


async def answer(classification: Classification) -> list[list[float]]:
    found: dict[int, list[float]] = {}
    while len(found) < len(classification.texts):
        for verdict in await classification.mailbox.take():
            assert verdict.number not in found
            found[verdict.number] = verdict.probabilities
    return [found[number] for number in range(len(found))]


def plainly(tokens: list[int]) -> list[float]:
    ids = np.zeros((1, -(-len(tokens) // 16) * 16), np.int64)
    ids[0, : len(tokens)] = tokens
    logits = FakeSequenceRunner(VOCAB_SIZE).run("classify", {"ids": ids, "lengths": np.array([len(tokens)], np.int32)})
    weights = np.exp(logits["logits"][0].astype(np.float64) - logits["logits"].max())
    probabilities: list[float] = (weights / weights.sum()).tolist()
    return probabilities


def some_texts(rng: np.random.Generator) -> list[list[int]]:
    count = int(rng.choice([1, 1, 3, 20]))
    return [rng.integers(1, VOCAB_SIZE, int(rng.integers(1, 200))).tolist() for _ in range(count)]


def test_64_mixed_requests_are_the_same_alone_and_together_and_some_leave() -> None:
    rng = np.random.default_rng(0)

    async def main(max_rows: int, classify_tokens: int) -> None:
        async with rig(max_rows, classify_tokens) as running:
            staying, leaving = [], []
            for _ in range(64):
                texts = some_texts(rng)
                classification = running.submit(*texts)
                if rng.random() < 0.2:
                    leaving.append(classification)
                else:
                    staying.append((asyncio.create_task(answer(classification)), texts))
                await asyncio.sleep(float(rng.choice([0, 0, 0.001])))
                if leaving:
                    running.engine.cancel(leaving[rng.integers(len(leaving))])
            for classification in leaving:
                running.engine.cancel(classification)
            for task, texts in staying:
                assert await task == [plainly(tokens) for tokens in texts]
            assert max(running.counts.classified_rows) <= max_rows
            assert running.engine.num_waiting == 0

    for max_rows, classify_tokens in ((1, 16), (64, 256), (64, 8192)):
        asyncio.run(main(max_rows, classify_tokens))


def test_what_waits_when_the_runtime_is_free_goes_together_by_length() -> None:
    async def main() -> None:
        async with rig() as running:
            running.sequences.gate = threading.Event()
            requests = [running.submit([1] * 5)]
            while not running.engine.num_running:
                await asyncio.sleep(0.001)
            requests += [running.submit([2] * length) for length in (200, 9, 150, 3, 16)]
            running.sequences.gate.set()
            for request in requests:
                await answer(request)
            assert running.sequences.calls == [(5,), (150, 200), (3, 9, 16)]

    asyncio.run(main())


def test_calls_of_long_texts_are_made_at_once_as_many_as_there_are_runners() -> None:
    async def main() -> None:
        async with rig(max_rows=1, num_runners=2, long=64) as running:
            gate = running.sequences.gate = threading.Event()
            requests = [running.submit([number] * 100) for number in range(1, 4)] + [running.submit([4] * 9)]
            while running.engine.num_running < 2:
                await asyncio.sleep(0.001)
            assert (running.engine.num_running, running.engine.num_waiting) == (2, 2)
            running.engine.cancel(requests[0])  # its call runs on, and nobody hears of it
            gate.set()
            for number, request in enumerate(requests[1:], start=2):
                assert await answer(request) == [plainly([number] * (9 if number == 4 else 100))]
            while running.engine.num_running:
                await asyncio.sleep(0.001)
            assert sorted(running.sequences.calls) == [(9,), (100,), (100,), (100,)]

    asyncio.run(main())


def test_a_request_of_many_texts_does_not_keep_a_small_one_waiting() -> None:
    async def main() -> None:
        async with rig(max_rows=8, classify_tokens=64) as running:
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
            while not running.engine.num_running:
                await asyncio.sleep(0.001)
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
            while not running.engine.num_running:
                await asyncio.sleep(0.001)
            waiting = running.submit([2])
            stopping = asyncio.create_task(asyncio.to_thread(running.engine.stop))
            await asyncio.sleep(0.01)
            gate.set()
            await stopping
            with pytest.raises(UnavailableError):
                await answer(waiting)

    asyncio.run(main())
