"""Random histories of an engine over the hashing fake, one runtime call at a time.

Requests come, are cancelled, and the engine is stopped, while calls are held, succeed and fail. Every request's answer
is known beforehand (one row at a time, with nothing around it), and so are the calls that it can be in.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from structlog.testing import capture_logs

from models.errors import RequestError
from server.engine.engine import AnyEngine
from server.errors import EngineError, UnavailableError
from tests.server.engine.lockstep import Gate, HeldCall

Key = Hashable


class Earlier(NamedTuple):
    """A row of an earlier call of the same window: if it has ended since, it fails with the window all the same."""

    key: Key


MOST_OPEN = 7
TIMEOUT = 30  # seconds until a stop counts as lost


class History(Exception):  # noqa: N818 - it names the history in which an assertion failed
    """An assertion failed in the history of this seed."""


class Known(Protocol):
    """What is known of a request before it is made; the same for each of its kind."""

    @property
    def keys(self) -> frozenset[Key]:
        """Of its rows in calls."""

    @property
    def is_broken(self) -> bool:
        """Whether it must fail because numbers are not finite."""

    @property
    def num_items(self) -> int:
        """Prompts, sources or texts."""

    def check(self, outputs: Sequence[Any]) -> bool:
        """Compare the first or all outputs, in the order in which they came, with what they must be; whether it is all.

        Raises AssertionError.
        """


KnownRequest = TypeVar("KnownRequest", bound=Known)


class Watched(Generic[KnownRequest]):
    """A request on its way, and what its output queue was given."""

    def __init__(self, request: Any, known: KnownRequest, gate: Gate) -> None:
        self.request = request
        self.known = known
        self.outputs: list[Any] = []
        self.errors: list[RequestError] = []
        self.is_cancelled = False
        self.is_over = self.is_answered = False
        self.may_fail = self.must_fail = False  # because of calls that failed
        self.num_calls = 0  # that it was in after it was cancelled
        self.wrong: AssertionError | None = None

        def put(output: Any) -> None:
            gate.happened.set()
            if isinstance(output, RequestError):
                self.errors.append(output)
            else:
                self.outputs.append(output)
            try:
                self._note()
            except AssertionError as error:  # the engine must not get it
                self.wrong = self.wrong or error
                self.is_over = True

        request.outputs.put = put

    def _note(self) -> None:
        if self.is_cancelled:
            return
        if self.is_answered:  # but a call that runs while the engine is stopped may end as well
            assert all(isinstance(error, UnavailableError) for error in self.errors), "an answer and an error"
        elif self.errors:
            self.is_over = True
        else:
            self.is_over = self.is_answered = self.known.check(self.outputs)


class World(Protocol):
    """An engine and the fakes of its lanes."""

    @property
    def engine(self) -> AnyEngine:
        """Started."""


class Kind(ABC, Generic[KnownRequest]):
    """One of the engines.

    Attributes:
        draw: of one history.
        max_steps: of a window.
    """

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.max_steps = draw.choice([1, 1, 2, 4, 8])

    @abstractmethod
    def world(self) -> AbstractAsyncContextManager[Any]:
        """A new engine with random settings; gives a World."""

    @abstractmethod
    def calls(self, world: Any) -> Iterable[tuple[Any, str, Callable[..., Iterable[Key]]]]:
        """The runners of a world, the names of their calls, and what gives the keys of a call's rows."""

    @abstractmethod
    def known(self) -> KnownRequest:
        """One of the requests, at random."""

    @abstractmethod
    def request(self, known: KnownRequest) -> Any:
        """Make it."""

    def check_end(self, watched: Watched[KnownRequest]) -> None:
        """What else must be so of a request that was answered."""


async def run_histories(make: Callable[[random.Random], Kind[Any]], seeds: Iterable[int]) -> Counter[str]:
    """Run them one after the other; how many requests ended how. Raises History with the seed that failed."""
    counts: Counter[str] = Counter()
    with capture_logs():
        for seed in seeds:
            try:
                counts += await _Run(make(random.Random(seed))).run()
            except Exception as error:
                raise History(f"seed {seed}: {error}") from error
    return counts


class _WatchedGate(Gate):
    def __init__(self, loop: asyncio.AbstractEventLoop, came: Callable[[HeldCall], None]) -> None:
        super().__init__(loop)
        self._note_call = came

    def _came(self, call: HeldCall) -> None:
        super()._came(call)
        self._note_call(call)


class _Run(Generic[KnownRequest]):
    """One history."""

    def __init__(self, kind: Kind[KnownRequest]) -> None:
        self._kind = kind
        self._draw = kind.draw
        self._gate = _WatchedGate(asyncio.get_running_loop(), self._came)
        self._all: list[Watched[KnownRequest]] = []
        self._wrong: AssertionError | None = None
        self._num_failures = self._draw.choice([0, 0, 1, 3])  # that may still come

    @property
    def _open(self) -> list[Watched[KnownRequest]]:
        return [item for item in self._all if not item.is_over and not item.is_cancelled]

    async def run(self) -> Counter[str]:
        async with self._kind.world() as world:
            self._engine: AnyEngine = world.engine
            for runner, name, keys in self._kind.calls(world):
                self._hold(runner, name, keys)
            try:
                is_stopped = await self._live()
                if not is_stopped:
                    await self._finish()
                    for _ in range(1000):
                        if self._is_idle():
                            break
                        await asyncio.sleep(0.001)  # cancelled requests leave
                    assert self._is_idle(), "rows or slots are left"
            finally:
                self._gate.open()
            assert self._engine.is_alive != is_stopped
        await asyncio.sleep(0)
        if self._wrong is not None:
            raise self._wrong
        return Counter(self._end_of(item) for item in self._all)

    def _is_idle(self) -> bool:
        """Whether nothing runs or waits, and no lane counts anything as its load."""
        lanes = [getattr(part, "lane", None) for item in self._all for part in item.request.items]
        return not any(self._engine.gauges[:2]) and not any(lane.load for lane in lanes if lane is not None)

    def _hold(self, runner: Any, name: str, keys: Callable[..., Iterable[Key]]) -> None:
        call = getattr(runner, name)

        def held(*arguments: Any) -> Any:
            rows = list(keys(*arguments))
            if name == "decode" and not all(any(key in item.known.keys for item in self._all.copy()) for key in rows):
                self._wrong = self._wrong or AssertionError("a window with a row that has ended, or of nobody")
            self._gate.hold(rows)
            return call(*arguments)

        setattr(runner, name, held)

    def _came(self, call: HeldCall) -> None:
        """A call waits: a request that was cancelled before its lane's last round of calls is not in it."""
        most_calls = 2 + 2 * self._kind.max_steps  # of a round: prefill, steps, choices, a session's last state
        for item in self._all:
            if item.is_cancelled and any(self._owners(key) == [item] for key in call.rows):
                item.num_calls += 1
                if item.num_calls > item.known.num_items * most_calls:
                    item.wrong = AssertionError("it was cancelled, and it goes on")

    def _owners(self, key: Key) -> list[Watched[KnownRequest]]:
        """The requests that a row can be of."""
        return [item for item in self._all if key in item.known.keys]

    async def _live(self) -> bool:
        """What happens while calls are held; whether the engine was stopped."""
        happenings: dict[Callable[[], None], float] = {
            self._submit: self._draw.choice([1, 3]),
            self._cancel: self._draw.choice([0, 0.3, 1]),
            self._end_call: self._draw.choice([3, 10]),
        }
        for _ in range(self._draw.randint(5, 60)):
            (happening,) = self._draw.choices(list(happenings), list(happenings.values()))
            happening()
            if self._draw.random() < 0.6:  # else more happens before the lanes notice
                await self._settle()
        if self._draw.random() < 0.1:
            await self._stop()
            return True
        return False

    async def _settle(self) -> None:
        """Let the lanes come to their next calls."""
        if self._open and not self._gate.held:
            await self._gate.next_event()
        for _ in range(3):
            await asyncio.sleep(0)

    def _submit(self) -> None:
        if len(self._open) >= MOST_OPEN:
            return
        known = self._kind.known()
        watched = Watched(self._kind.request(known), known, self._gate)
        self._all.append(watched)
        self._engine.submit(watched.request)

    def _cancel(self) -> None:
        if self._open:
            self._leave(self._draw.choice(self._open))

    def _leave(self, watched: Watched[KnownRequest]) -> None:
        watched.is_cancelled = True
        self._engine.cancel(watched.request)
        if self._draw.random() < 0.2:
            self._engine.cancel(watched.request)

    def _end_call(self) -> None:
        """One of the calls that are held ends."""
        if self._gate.held:
            call = self._gate.held.pop(self._draw.randrange(len(self._gate.held)))
            if self._num_failures and not call.go.is_set() and self._draw.random() < 0.1:
                self._num_failures -= 1
                self._fail(call)
            call.go.set()

    def _fail(self, call: HeldCall) -> None:
        call.verdict = "fails"
        for key in call.rows:
            owners = self._owners(key.key if isinstance(key, Earlier) else key)
            for item in owners or self._open:  # nobody's: it has ended inside the window
                item.may_fail = True
            if len(owners) == 1 and not isinstance(key, Earlier):
                owners[0].must_fail = True

    async def _finish(self) -> None:
        """No more requests: all that are open come to their ends."""
        is_slow = self._draw.random() < 0.5
        while self._open:
            if not is_slow:
                self._gate.open()
            await self._settle()
            for watched in self._all:
                if watched.errors and not watched.is_cancelled:  # as whoever answers it does
                    self._leave(watched)
            while self._gate.held and (not is_slow or self._draw.random() < 0.8):
                self._end_call()
        self._gate.open()

    async def _stop(self) -> None:
        stopping = asyncio.create_task(asyncio.to_thread(self._engine.stop, TIMEOUT))
        while not stopping.done():
            await asyncio.sleep(0)
            self._end_call()
        assert await stopping
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not self._open, "an engine has ended, and requests wait"
        with suppress(UnavailableError):
            self._engine.submit(self._kind.request(self._kind.known()))
            raise AssertionError("an engine that was stopped takes a request")

    def _end_of(self, item: Watched[KnownRequest]) -> str:
        """How a request ended; it ended rightly."""
        if item.wrong is not None:
            raise item.wrong
        item.known.check(item.outputs)
        if item.errors and not item.is_answered:
            return self._check_errors(item)
        if item.is_cancelled:
            return "cancelled"
        assert item.is_answered
        assert not item.must_fail, "a call of it failed, and it was answered"
        assert not item.known.is_broken, "its numbers were not finite, and it was answered"
        self._kind.check_end(item)
        return "answered"

    def _check_errors(self, item: Watched[KnownRequest]) -> str:
        error = item.errors[0]
        if isinstance(error, UnavailableError):
            return "stopped"
        assert isinstance(error, EngineError)
        if "not finite" in str(error):
            assert item.known.is_broken, "it failed because of another's numbers"
            return "broken"
        assert item.may_fail, f"it failed because of another's call: {error}"
        return "failed"
