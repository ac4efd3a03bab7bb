"""An engine call by call: each call of its runners, a step or a reading, waits until it is told how it ends.

So histories of requests, cancellations and failures are played in a known order, and nothing of the engine is looked
at but what it asks of the runners and what it posts. A row of a call is known by what it continues from and what it is
fed: the fakes' states are hashes of all that was read, so such a key belongs to the requests that come by it when they
run alone, and to nobody else.
"""

import asyncio
import contextlib
import queue
import random
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from numpy.typing import NDArray
from structlog.testing import capture_logs

from models.errors import RequestError, RunnerError
from runtime.runner import Array
from server.engine.delivery import LoopDelivery
from server.engine.engine import Engine
from server.errors import ClientGoneError, EngineError, UnavailableError
from tests.server.fake_runner import FakeAttentionStepRunner, FakeSequenceRunner, FakeStepRunner

Key = Hashable
Verdict = Literal["works", "fails", "fails late", "is broken"]  # the last: some rows' numbers are not finite
FAILURES: list[Verdict] = ["fails", "fails late", "is broken", "is broken"]
PATIENCE = 20  # seconds until something that should happen counts as lost


@dataclass(eq=False)
class HeldCall:
    """A call that waits.

    Attributes:
        rows: the key of each row.
        is_step: whether it is a step, and not a reading beside the steps.
        may_break: whether numbers that are not finite would be noticed at once.
        broken: rows whose numbers are not finite.
    """

    rows: list[Key]
    is_step: bool
    may_break: bool
    verdict: Verdict = "works"
    broken: frozenset[int] = frozenset()
    go: threading.Event = field(default_factory=threading.Event)

    def end(self, logits: NDArray[np.float32]) -> None:
        """What the verdict makes of the outcome, float32 [n, ...]."""
        logits[sorted(self.broken)] = np.nan
        if self.verdict == "fails late":
            raise RunnerError("fake failure after the states have changed")


class Gate:
    """Where calls wait. `hold` is for the engine's threads, the rest belongs to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_open = False
        self.held: list[HeldCall] = []
        self.news = asyncio.Event()

    def hold(self, rows: list[Key], *, is_step: bool = True, may_break: bool = True) -> HeldCall:
        call = HeldCall(rows, is_step, may_break)
        if not self._is_open:
            self._loop.call_soon_threadsafe(self._came, call)
            assert call.go.wait(10 * PATIENCE)
        if call.verdict == "fails":
            raise RunnerError("fake failure")
        return call

    def _came(self, call: HeldCall) -> None:
        self.held.append(call)
        self.news.set()
        if self._is_open:
            call.go.set()

    def tell(self) -> None:
        """Something has happened that those who wait for news should look at."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self.news.set)

    async def next_news(self) -> None:
        """A call has come to wait, or a request has had news. Raises AssertionError when nothing happens."""
        for _ in range(PATIENCE):  # second by second, so that a machine that stood still has lost one of them
            try:
                await asyncio.wait_for(self.news.wait(), 1)
            except TimeoutError:
                continue
            self.news.clear()
            return
        raise AssertionError("a request is open, and the engine makes no call")

    def open(self) -> None:
        """From now on calls do not wait."""
        self._is_open = True
        for call in self.held:
            call.go.set()


class WatchedCommands(queue.SimpleQueue[Any]):
    """An engine's commands, which know when the engine has obeyed all and waits for more."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate
        self._lock = threading.Lock()
        self.is_engine_waiting = False
        self.num_kept = 0  # readings that have ended

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        with self._lock:
            self.is_engine_waiting = False
            super().put(item, block, timeout)
            self.num_kept += item[0] == "keep"
        self._gate.tell()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        with self._lock:
            self.is_engine_waiting = self.empty()
        if self.is_engine_waiting:
            self._gate.tell()
        item = super().get(block, timeout)
        self.is_engine_waiting = False
        return item


class HeldSteps(FakeStepRunner):
    def __init__(self, gate: Gate, capacity: int, vocab_size: int) -> None:
        super().__init__(capacity, vocab_size)
        self._gate = gate

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = zip(parents.tolist(), tokens.tolist(), strict=True)
        call = self._gate.hold([("step", self.get(parent).tobytes(), token) for parent, token in rows])
        logits = super().step(tokens, parents)
        call.end(logits)
        return logits


class HeldAttentionSteps(FakeAttentionStepRunner):
    def __init__(self, gate: Gate, capacity: int, vocab_size: int) -> None:
        super().__init__(capacity, vocab_size)
        self._gate = gate

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = zip(parents.tolist(), tokens.tolist(), strict=True)
        call = self._gate.hold([attention_key(self, parent, token) for parent, token in rows])
        logits = super().step(tokens, parents)
        call.end(logits)
        return logits


def attention_key(runner: FakeAttentionStepRunner, slot: int, token: int) -> Key:
    """A row's key: the state, the source's memory and the token."""
    return "step", runner.get(slot).tobytes(), runner.memory_of(slot)["memory"].tobytes(), token


class HeldSequences(FakeSequenceRunner):
    """`long`: padded tokens from which a classification is a reading beside the steps."""

    def __init__(self, gate: Gate, vocab_size: int, long: int = 1 << 62) -> None:
        super().__init__(vocab_size)
        self._gate = gate
        self._long = long

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        ids, lengths = inputs["ids"], inputs["lengths"].tolist()
        if graph == "advance":
            rows = [read_key(state, row[0]) for state, row in zip(inputs["state"], ids, strict=True)]
        else:
            rows = [source_key(row[:length].tolist()) for row, length in zip(ids, lengths, strict=True)]
        is_step = graph == "classify" and ids.size < self._long
        call = self._gate.hold(rows, is_step=is_step, may_break=graph == "classify")
        outputs = super().run(graph, inputs)
        call.end(outputs.get("logits", np.zeros(0)))
        return outputs


def read_key(state: NDArray[np.float32], token: int) -> Key:
    """Of a row that reads a prompt from this state on, this token first."""
    return "read", state.tobytes(), int(token)


def source_key(tokens: list[int]) -> Key:
    """Of a row that reads a whole text."""
    return "source", tuple(tokens)


class Case(ABC):
    """One request, what it must be given, and what it has been given.

    Args:
        request: as the engine takes it.
        keys: how often it comes by each row when it runs alone.
    """

    def __init__(self, request: Any, keys: Counter[Key]) -> None:
        self.request = request
        self.keys = keys
        self.is_cancelled = False
        self.error: RequestError | None = None

    @property
    @abstractmethod
    def is_answered(self) -> bool:
        """Whether all of its answer has come."""

    @property
    def is_open(self) -> bool:
        """Whether something is still to come."""
        return not (self.is_cancelled or self.error is not None or self.is_answered)

    @abstractmethod
    def take(self, item: Any) -> None:
        """Compare news with what is due. Raises AssertionError."""


class EngineMachine(RuleBasedStateMachine):
    """Random histories; a task's machine says which requests there are.

    Laws: a request ends in exactly one way, and its answer is that of a run alone. Rows of a call belong to requests
    that are open, and no row is run more often than by a run alone. A failing call fails the requests in it and no
    others, numbers that are not finite fail their own request alone. The engine never rests while a request is open.
    """

    engine: Engine[Any, Any, Any]
    commands: WatchedCommands

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.gate = Gate(self.loop)
        self.cases: list[Case] = []
        self.stops_early = False
        self.num_readings = 0  # that have begun
        self._owners: defaultdict[Key, list[Case]] = defaultdict(list)
        self._num_steps = 0
        self._num_seen: Counter[Key] = Counter()
        self._call_owners: dict[HeldCall, list[list[Case]]] = {}  # of each row, those that were open
        self._problems: list[BaseException] = []
        self._collectors: list[asyncio.Task[None]] = []
        self._silence = contextlib.ExitStack()
        self._silence.enter_context(capture_logs())  # tracebacks of failures that are meant

    def run_engine(self, engine: Engine[Any, Any, Any]) -> None:
        """Start the engine, and know from then on when nothing more will happen by itself."""
        self.engine = engine
        self.commands = WatchedCommands(self.gate)
        next_reading = engine._next_reading

        def counted() -> Any:
            reading = next_reading()
            self.num_readings += reading is not None  # it will come to the gate
            return reading

        engine._next_reading = counted  # type: ignore[method-assign]
        engine.start(LoopDelivery(self.loop), self.commands)

    @property
    def is_still(self) -> bool:
        """Whether the engine's thread waits, in a step or for commands, and the reader too, if it has a call."""
        num_held = sum(not call.is_step for call in self.gate.held)
        is_stepping = num_held < len(self.gate.held)
        return self.commands.num_kept + num_held == self.num_readings and (
            is_stepping or self.commands.is_engine_waiting
        )

    def submit(self, *cases: Case) -> None:
        """Give the engine requests, one right after the other."""
        for case in cases:
            self.cases.append(case)
            for key in case.keys:
                self._owners[key].append(case)
            self._collectors.append(self.loop.create_task(self._collect(case)))
            self.engine.submit(case.request)
        self.settle()

    @rule(seed=st.integers(0, 2**32), number=st.integers(1, 4))
    def happen(self, seed: int, number: int) -> None:
        """Requests come, calls end, requests are cancelled, in any order."""
        self._num_steps += 1
        draw = random.Random(f"{seed} {self._num_steps}")  # seeds by themselves are often the same
        for happening in draw.choices([self.add, self.call, self.cancel], [6, 10, 1], k=number):
            happening(draw)

    def add(self, draw: random.Random) -> None:
        """Submit requests of the task."""
        raise NotImplementedError

    def call(self, draw: random.Random) -> None:
        """Let the engine's next calls end, some in failure."""
        chance = draw.choice([0, 0, 0.2])
        for _ in range(draw.randint(1, 6)):
            if self.gate.held:
                verdict: Verdict = draw.choice(FAILURES) if draw.random() < chance else "works"
                self.release(verdict, draw.randrange(1, 256), draw.randrange(len(self.gate.held)))

    def cancel(self, draw: random.Random) -> None:
        """Some that are open, and any one, over or not; as the server does it or without a word to the mailbox."""
        chance = draw.choice([0, 0, 0.1, 0.9])
        chosen = [case for case in self.cases if case.is_open and draw.random() < chance]
        for case in [*chosen, *draw.sample(self.cases, min(1, len(self.cases)))]:
            case.is_cancelled = True
            self.engine.cancel(case.request)
            if draw.random() < 0.5:
                case.request.mailbox.put(ClientGoneError("The client left."))
            self.settle()

    def release(self, verdict: Verdict, mask: int, which: int = 0) -> None:
        """Let one of the calls that wait end, the reading being the first of them.

        The engine learns of a reading's end after the step that runs beside it, so that one ends too, and works.
        """
        self.gate.held.sort(key=lambda call: call.is_step)
        call = self.gate.held.pop(which)
        owners = self._call_owners.pop(call)
        if verdict == "is broken" and call.may_break:
            call.broken = frozenset(i for i in range(len(call.rows)) if mask >> i % 8 & 1)
        call.verdict = verdict
        failed_before = {case for case in self.cases if case.error is not None}
        call.go.set()
        self.settle()
        if not call.is_step and self.gate.held and self.gate.held[-1].is_step:
            step = self.gate.held.pop()
            del self._call_owners[step]
            step.go.set()
            self.settle()
        failed = {case for case in self.cases if case.error is not None} - failed_before
        concerned = {"works": [], "is broken": sorted(call.broken)}.get(verdict, list(range(len(call.rows))))
        assert failed <= {case for i in concerned for case in owners[i]}, "a request failed by another's failure"
        for i in concerned:
            is_told = any(case in failed | failed_before or case.is_cancelled for case in owners[i])
            assert is_told, "a failure that nobody was told of"
        for case in failed:
            assert isinstance(case.error, EngineError)

    def settle(self) -> None:
        """Until all that can happen by itself has happened; then look at the calls that wait."""
        self.loop.run_until_complete(self._settle())
        if self._problems:
            raise self._problems[0]
        for call in self.gate.held:
            if call not in self._call_owners:
                self._check(call)

    async def _settle(self) -> None:
        while not (self.is_still or self._problems):
            await self.gate.next_news()
        await self._hear()
        assert self.gate.held or self._problems or not any(case.is_open for case in self.cases), "the engine rests"

    async def _hear(self) -> None:
        for _ in range(8):  # what has been posted before reaches its collector
            await asyncio.sleep(0)

    def _check(self, call: HeldCall) -> None:
        self._call_owners[call] = [[case for case in self._owners[key] if case.is_open] for key in call.rows]
        for key, num_rows in Counter(call.rows).items():
            assert self._owners[key], f"a row that belongs to nobody: {key!r}"
            num_open = sum(case.keys[key] for case in self._owners[key] if case.is_open)
            assert num_rows <= num_open, "rows of a request that is over, or a row twice"
            self._num_seen[key] += num_rows
            assert self._num_seen[key] <= sum(case.keys[key] for case in self._owners[key]), "a row run twice"

    async def _collect(self, case: Case) -> None:
        """Take a request's news, also those that should not come."""
        try:
            while True:
                for item in await case.request.mailbox.take():
                    assert case.error is None
                    case.take(item)
                self.gate.news.set()
        except RequestError as error:
            case.error = error
        except AssertionError as error:
            self._problems.append(error)
        self.gate.news.set()

    async def _end_collectors(self) -> None:
        for task in self._collectors:
            task.cancel()
        await asyncio.gather(*self._collectors, return_exceptions=True)

    def teardown(self) -> None:
        try:
            if hasattr(self, "engine") and not (self._problems or self.stops_early):
                self._run_to_the_end()
        finally:
            self.gate.open()
            if hasattr(self, "engine"):
                self.engine.stop()
            try:
                self.loop.run_until_complete(self._hear())
            finally:
                self.loop.run_until_complete(self._end_collectors())
                self.loop.close()
                self._silence.close()
        for case in self.cases:
            is_refused = self.stops_early and isinstance(case.error, UnavailableError)
            is_failed = isinstance(case.error, EngineError)
            assert case.is_answered or case.is_cancelled or is_failed or is_refused, "a request without an end"
            assert not (case.is_answered and case.error is not None and not case.is_cancelled), "two ends"

    def _run_to_the_end(self) -> None:
        self.settle()
        num_calls = 0
        while self.gate.held:
            self.release("works", 0)
            num_calls += 1
            assert num_calls < 10_000, "the engine goes round in a circle"
        late = time.monotonic() + PATIENCE
        while self.engine.num_running or self.engine.num_waiting:
            assert time.monotonic() < late, "rows are left over"
            time.sleep(0.0005)
