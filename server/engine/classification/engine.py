"""The engine of a model without a state: lanes that take the next call from one queue.

Any free lane takes the next call, so that all cores work as long as texts wait. One more lane takes short calls while
all others make long ones: so a short text never waits for a long call to end; the cores are shared for its time.
"""

import asyncio
import threading
import time
from collections.abc import Callable

import numpy as np
import structlog

from runtime.padding import padded
from runtime.runner import SequenceRunner
from server.engine.classification.request import Text, TextBatch, TextResult
from server.engine.classification.scheduler import ClassificationScheduler
from server.engine.engine import Gauges, earliest
from server.engine.lane import (
    ENDED_MESSAGE,
    FAILED_MESSAGE,
    NOT_FINITE_MESSAGE,
    STOPPED_MESSAGE,
    Observer,
    ids_of,
    lower_priority,
)
from server.engine.request import OutputSender
from server.errors import ApiError, EngineError, UnavailableError

log = structlog.get_logger()


class ClassificationEngine:
    """Runs one model; used as Engine is.

    Args:
        name: the model's, for the threads and the log.
        graph: of the set: ids int64 [B, T] and lengths int32 [B] to logits float32 [B, C] or [B, T, C].
        make_runner: gives a lane's runner.
        scheduler: decides which texts are read together.
        num_lanes: lanes that take any call.
        observer: counts.
    """

    def __init__(
        self,
        name: str,
        graph: str,
        make_runner: Callable[[], SequenceRunner],
        scheduler: ClassificationScheduler,
        *,
        num_lanes: int,
        observer: Observer,
    ) -> None:
        self._name = name
        self._graph = graph
        self._make_runner = make_runner
        self._scheduler = scheduler
        self._num_lanes = num_lanes
        self._observer = observer
        self._lock = threading.Lock()  # guards the scheduler and the next two
        self._work = threading.Condition(self._lock)  # lanes that take any call wait here
        self._short_work = threading.Condition(self._lock)  # and here the one that takes short calls
        self._running: dict[int, list[Text]] = {}  # by lane
        self._busy_since: dict[int, float] = {}  # the calls, on time.monotonic's clock
        self._end: ApiError | None = None  # why no more requests are taken
        self._senders: list[OutputSender] = []
        self._threads: list[threading.Thread] = []

    @property
    def gauges(self) -> Gauges:
        """How it is now."""
        with self._lock:
            return Gauges(sum(map(len, self._running.values())), self._scheduler.num_waiting)

    @property
    def is_alive(self) -> bool:
        """Whether no lane has ended."""
        return all(thread.is_alive() for thread in self._threads)

    @property
    def busy_since(self) -> float:
        """See AnyEngine."""
        with self._lock:
            return earliest(self._busy_since.values())

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the lanes; outputs go to queues of this loop."""
        for number in range(self._num_lanes + 1):
            sender = OutputSender(loop)
            name = f"lane {self._name} {number}"
            thread = threading.Thread(target=self._run, args=(number, sender), name=name, daemon=True)
            self._senders.append(sender)
            self._threads.append(thread)
            thread.start()

    def submit(self, request: TextBatch) -> None:
        """Take a request.

        Raises:
            UnavailableError: the engine has been stopped.
            EngineError: a lane has ended by itself.
        """
        with self._lock:
            if self._end is not None:
                raise self._end.with_traceback(None)
            for text in request.items:
                self._scheduler.add(text)
            if self._are_all_long():
                self._short_work.notify()
            elif any(self._scheduler.may_go(text, self._running.values()) for text in request.items):
                self._work.notify(len(request.items))

    def cancel(self, request: TextBatch) -> None:
        """Drop what waits of a request."""
        with self._lock:
            for text in request.items:
                self._scheduler.cancel(text)

    def stop(self, seconds: float) -> bool:
        """As Engine.stop."""
        self._fail_all(UnavailableError(STOPPED_MESSAGE, code="draining"))
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _fail_all(self, error: ApiError) -> None:
        """Take no more requests, and fail those that are here."""
        with self._lock:
            self._end = self._end or error
            failing = [text for texts in self._running.values() for text in texts]
            while texts := self._scheduler.next_call():
                failing += texts
            for text in failing:
                self._senders[0].post(text.request.outputs, error)
            self._senders[0].flush()
            self._work.notify_all()
            self._short_work.notify()

    def _run(self, number: int, sender: OutputSender) -> None:
        lower_priority()
        only_short = number == self._num_lanes
        try:
            runner = self._make_runner()
            while self._run_once(number, runner, sender, only_short=only_short):
                sender.flush()
        except Exception as bug:
            log.critical("lane ended", lane=f"{self._name} {number}", exc_info=bug)
            self._fail_all(EngineError(ENDED_MESSAGE))

    def _run_once(self, number: int, runner: SequenceRunner, sender: OutputSender, *, only_short: bool) -> bool:
        """Make the next call; False when the engine has been stopped. Holds no text when it returns."""
        texts = self._next_call(number, only_short=only_short)
        try:
            if texts:
                self._run_call(runner, texts, sender)
        except Exception as error:
            name = f"{self._name} {number}"
            log.error("engine call failed", lane=name, requests=ids_of(texts), exc_info=error)
            for text in texts:
                sender.post(text.request.outputs, EngineError(FAILED_MESSAGE))
        finally:
            with self._lock:
                self._running.pop(number, None)
                self._busy_since.pop(number, None)
                if only_short:
                    self._work.notify()  # a call may have waited for the end of this one
        return bool(texts)

    def _next_call(self, number: int, *, only_short: bool) -> list[Text]:
        """The texts of a lane's next call; waits for them. Empty when the engine has been stopped."""
        with self._lock:
            while self._end is None:
                if not only_short or self._are_all_long():
                    texts = self._scheduler.next_call(self._running.values(), only_short=only_short)
                    if texts:
                        self._running[number] = texts
                        self._busy_since[number] = time.monotonic()
                        if self._are_all_long():
                            self._short_work.notify()
                        if self._scheduler.num_waiting:
                            self._work.notify()  # what is left may go, now that a call has ended
                        return texts
                (self._short_work if only_short else self._work).wait()
        return []

    def _are_all_long(self) -> bool:
        """Whether all lanes that take any call make long ones."""
        calls = [self._running.get(number) for number in range(self._num_lanes)]
        return all(texts is not None and self._scheduler.is_long(texts) for texts in calls)

    def _run_call(self, runner: SequenceRunner, texts: list[Text], sender: OutputSender) -> None:
        for text in texts:
            text.request.times.note_began()
        started = time.perf_counter()
        ids, lengths = padded([text.tokens for text in texts])
        logits = runner.run(self._graph, {"ids": ids, "lengths": lengths})["logits"]
        for text, row in zip(texts, logits, strict=True):
            found = row.copy() if row.ndim == 1 else row[: len(text.tokens)].copy()
            if np.isfinite(found.max(axis=-1)).all():  # -infinity rules a class out
                sender.post(text.request.outputs, TextResult(text.number, found))
            else:
                sender.post(text.request.outputs, EngineError(NOT_FINITE_MESSAGE))
        seconds = time.perf_counter() - started
        self._observer.classified(len(texts), int(lengths.sum()), ids.size, seconds)
