"""Engines on their own threads, requests from several others, calls of any length: every request comes to an end."""

import asyncio
import concurrent.futures
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from server.engine.delivery import LoopDelivery
from server.engine.generation.engine import GenerationEngine
from server.engine.sentiment.engine import SentimentEngine
from server.engine.sentiment.request import Classification, Verdict
from server.engine.translation.engine import TranslationEngine
from structlog.testing import capture_logs

from models.errors import RequestError, RunnerError
from runtime.runner import Array
from server.engine.engine import Engine
from server.engine.generation.prefix_cache import PrefixCache
from server.errors import EngineError, UnavailableError
from tests.server.engine.counts import Counts
from tests.server.engine.generation.harness import END, VOCAB_SIZE
from tests.server.engine.generation.test_machine import GenerationCase, some_generation
from tests.server.engine.lockstep import PATIENCE, Case
from tests.server.engine.sentiment.test_engine import plainly
from tests.server.engine.translation.harness import VOCAB_SIZE as TARGET_SIZE
from tests.server.engine.translation.test_machine import TranslationCase, some_translation
from tests.server.fake_runner import STATE_WIDTH, FakeAttentionStepRunner, FakeSequenceRunner, FakeStepRunner

NUM_THREADS, NUM_ACTIONS = 4, 25
MAX_ROWS = 8


class Moody:
    """Makes calls take their time, and fail now and then."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            seconds, fails = self._draw.choice([0, 0, 0, 0.0001, 0.002]), self._draw.random() < 0.01
        time.sleep(seconds)
        if fails:
            raise RunnerError("fake failure")


class MoodySteps(FakeStepRunner):
    def __init__(self, mood: Moody) -> None:
        super().__init__(2 * MAX_ROWS, VOCAB_SIZE)
        self._mood = mood

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.float32]:
        self._mood()
        return super().step(tokens, parents)


class MoodyAttentionSteps(FakeAttentionStepRunner):
    def __init__(self, mood: Moody) -> None:
        super().__init__(2 * MAX_ROWS, TARGET_SIZE)
        self._mood = mood

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.float32]:
        self._mood()
        return super().step(tokens, parents)


class MoodySequences(FakeSequenceRunner):
    def __init__(self, mood: Moody, vocab_size: int) -> None:
        super().__init__(vocab_size)
        self._mood = mood

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._mood()
        return super().run(graph, inputs)


class SentimentCase(Case):
    def __init__(self, classification: Classification) -> None:
        super().__init__(classification, Counter())
        self.expected = [plainly(tokens) for tokens in classification.texts]
        self.found: dict[int, list[float]] = {}

    @property
    def is_answered(self) -> bool:
        return len(self.found) == len(self.expected)

    def take(self, item: Verdict) -> None:
        assert item.number not in self.found
        assert item.probabilities == self.expected[item.number]
        self.found[item.number] = item.probabilities


def some_classification(rng: np.random.Generator) -> Classification:
    return Classification([rng.integers(1, 50, rng.integers(1, 90)).tolist() for _ in range(rng.choice([1, 1, 9]))])


def generation_engine(mood: Moody) -> Engine[Any, Any, Any]:
    return GenerationEngine(
        "fake",
        MoodySteps(mood),
        MoodySequences(mood, VOCAB_SIZE),
        state_width=STATE_WIDTH,
        vocab_size=VOCAB_SIZE,
        end_id=END,
        max_rows=MAX_ROWS,
        prefill_tokens=64,
        prefill_share=0.5,
        stream_tokens=8,
        cache=PrefixCache(3000),
        observer=Counts(),
    )


def translation_engine(mood: Moody) -> Engine[Any, Any, Any]:
    return TranslationEngine(
        "fake",
        MoodyAttentionSteps(mood),
        MoodySequences(mood, TARGET_SIZE),
        max_rows=MAX_ROWS,
        encode_tokens=64,
        encode_share=0.5,
        observer=Counts(),
    )


def sentiment_engine(mood: Moody) -> Engine[Any, Any, Any]:
    sequences = MoodySequences(mood, 50)
    return SentimentEngine("fake", [sequences], max_rows=MAX_ROWS, classify_tokens=256, observer=Counts())


TASKS: dict[str, tuple[Callable[[Moody], Engine[Any, Any, Any]], Callable[[np.random.Generator], Case]]] = {
    "generation": (generation_engine, lambda rng: GenerationCase(some_generation(rng))),
    "translation": (translation_engine, lambda rng: TranslationCase(some_translation(rng, MAX_ROWS))),
    "sentiment": (sentiment_engine, lambda rng: SentimentCase(some_classification(rng))),
}


async def collect(case: Case) -> None:
    """Until a request has ended; one whose client has left is not waited for."""
    try:
        while not case.is_answered:
            for item in await case.request.mailbox.take():
                case.take(item)
    except RequestError as error:
        case.error = error


class Clients:
    """Threads that submit and cancel requests."""

    def __init__(self, engine: Engine[Any, Any, Any], make: Callable[[np.random.Generator], Case], seed: int) -> None:
        self._engine, self._make, self._seed = engine, make, seed
        self._loop = asyncio.get_running_loop()
        self.waiting: dict[Case, concurrent.futures.Future[None]] = {}
        self.num_refused = 0

    async def work(self) -> None:
        await asyncio.gather(*(asyncio.to_thread(self._work, number) for number in range(NUM_THREADS)))

    def _work(self, number: int) -> None:
        rng = np.random.default_rng([self._seed, number])
        mine: list[Case] = []
        for _ in range(NUM_ACTIONS):
            case = self._make(rng)
            try:
                self._engine.submit(case.request)
            except UnavailableError:
                self.num_refused += 1
                continue
            mine.append(case)
            self.waiting[case] = asyncio.run_coroutine_threadsafe(collect(case), self._loop)
            time.sleep(float(rng.choice([0, 0, 0.0005, 0.005])))
            if rng.random() < 0.3:
                left = mine[rng.integers(len(mine))]
                left.is_cancelled = True
                self._engine.cancel(left.request)

    async def end(self) -> None:
        """Wait for every request that has not been cancelled; the others are no more waited for."""
        pending = {asyncio.wrap_future(future) for case, future in self.waiting.items() if not case.is_cancelled}
        for _ in range(3 * PATIENCE):  # second by second, so that a machine that stood still has lost one of them
            if pending:
                done, pending = await asyncio.wait(pending, timeout=1)
                for ended in done:
                    ended.result()
        assert not pending, f"{len(pending)} requests have no end"
        for future in self.waiting.values():
            future.cancel()


async def hold_up(seed: int) -> None:
    """Keep the event loop busy with other things, so that news gather between its turns."""
    draw = random.Random(seed)
    while True:
        time.sleep(draw.choice([0, 0.0001, 0.001]))
        await asyncio.sleep(0)


async def one_round(task: str, seed: int, *, is_stopped: bool) -> None:
    make_engine, make_case = TASKS[task]
    engine = make_engine(Moody(seed))
    engine.start(LoopDelivery(asyncio.get_running_loop()))
    clients = Clients(engine, make_case, seed)
    holding_up = asyncio.create_task(hold_up(seed)) if seed % 4 < 2 else None
    working = asyncio.create_task(clients.work())
    if is_stopped:
        await asyncio.sleep(random.Random(seed).uniform(0, 0.3))
        await asyncio.to_thread(engine.stop)
    await working
    await clients.end()
    if holding_up is not None:
        holding_up.cancel()
    if not is_stopped:
        for _ in range(1000 * PATIENCE):
            if not (engine.num_running or engine.num_waiting):
                break
            await asyncio.sleep(0.001)
        assert (engine.num_running, engine.num_waiting) == (0, 0)
        assert clients.num_refused == 0
        await asyncio.to_thread(engine.stop)
    allowed = (EngineError, UnavailableError) if is_stopped else EngineError
    for case in clients.waiting:
        assert case.is_answered or case.is_cancelled or isinstance(case.error, allowed)


@pytest.mark.parametrize("number", [4, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("task", TASKS)
def test_every_request_of_several_threads_ends_while_calls_take_their_time_and_fail(task: str, number: int) -> None:
    with capture_logs():
        for seed in range(number):
            asyncio.run(one_round(task, seed, is_stopped=seed % 2 == 1))
