"""A model call by call: each call of its runners waits until a test says how it ends."""

import asyncio
import contextlib
import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from runtime.runner import Array
from tests.server.fake_runner import FakeSequenceRunner, FakeStepRunner

Key = Hashable
Verdict = Literal["works", "fails", "fails late", "is broken"]  # the last: some rows' numbers are not finite
FAILURES: list[Verdict] = ["fails", "fails late", "is broken", "is broken"]
TIMEOUT = 20  # seconds until something that should happen counts as lost


@dataclass(eq=False)
class HeldCall:
    """A call that waits.

    Attributes:
        rows: the key of each row.
        may_break: whether numbers that are not finite would be noticed at once.
        broken: rows whose numbers are not finite.
    """

    rows: list[Key]
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
        self.happened = asyncio.Event()

    def hold(self, rows: list[Key], *, may_break: bool = True) -> HeldCall:
        call = HeldCall(rows, may_break)
        if not self._is_open:
            self._loop.call_soon_threadsafe(self._came, call)
            assert call.go.wait(10 * TIMEOUT)
        if call.verdict == "fails":
            raise RunnerError("fake failure")
        return call

    def _came(self, call: HeldCall) -> None:
        self.held.append(call)
        self.happened.set()
        if self._is_open:
            call.go.set()

    def notify(self) -> None:
        """Something has happened that those who wait should look at."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self.happened.set)

    async def next_event(self) -> None:
        """A call has come to wait, or a request has an output. Raises AssertionError when nothing happens."""
        for _ in range(TIMEOUT):  # second by second, so that a machine that stood still has lost one of them
            try:
                await asyncio.wait_for(self.happened.wait(), 1)
            except TimeoutError:
                continue
            self.happened.clear()
            return
        raise AssertionError("a request is open, and the engine makes no call")

    def open(self) -> None:
        """From now on calls do not wait."""
        self._is_open = True
        for call in self.held:
            call.go.set()


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


class HeldSequences(FakeSequenceRunner):
    def __init__(self, gate: Gate, vocab_size: int) -> None:
        super().__init__(vocab_size)
        self._gate = gate

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        ids, lengths = inputs["ids"], inputs["lengths"].tolist()
        if graph == "advance":
            rows = [read_key(state, row[0]) for state, row in zip(inputs["state"], ids, strict=True)]
        else:
            rows = [source_key(row[:length].tolist()) for row, length in zip(ids, lengths, strict=True)]
        call = self._gate.hold(rows, may_break=graph == "classify")
        outputs = super().run(graph, inputs)
        call.end(outputs.get("logits", np.zeros(0)))
        return outputs


def read_key(state: NDArray[np.float32], token: int) -> Key:
    """Of a row that reads a prompt from this state on, this token first."""
    return "read", state.tobytes(), int(token)


def source_key(tokens: list[int]) -> Key:
    """Of a row that reads a whole text."""
    return "source", tuple(tokens)
