"""What every engine is: a thread that schedules a step, runs it, and delivers what came of it, until it is stopped.

The engines of the tasks say what a step is. Here is what they share: requests come and go through a queue of commands,
a call that fails fails the requests in it and no others, and nobody is left waiting when the thread ends. Token ids
in, news in mailboxes out; knows no HTTP.

What need not be done in the engine's thread, as reading a text before it steps, is done beside it by a second one, the
reader: the runtime computes outside Python's lock, so a second core takes that work. The reader only computes. What it
has found comes back as a command, so all else happens in the engine's thread, between two steps.
"""

import functools
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import structlog

from server.engine.delivery import Delivery
from server.engine.priority import come_first, interrupt_nobody
from server.engine.request import EngineRequest
from server.errors import ApiError, EngineError, UnavailableError

log = structlog.get_logger()

# Seconds between a thread's asking for the interpreter and getting it, at most, in a process with an engine. The
# engine's thread asks after every step; Python's default of 5 ms is longer than a step.
SWITCH_INTERVAL = 0.0005


class Observer(Protocol):
    """Who counts what an engine does. Called in the engine's thread."""

    def read(self, num_tokens: int, num_padded: int, seconds: float) -> None:
        """A prefill or encode call read so many tokens, or with the padding between them so many."""

    def looked_up(self, num_known: int, num_tokens: int) -> None:
        """Of a prompt's tokens that are to be read, so many are known already."""

    def stepped(self, num_rows: int, seconds: float) -> None:
        """A decoding step gave so many rows a token; choosing the tokens is in the time."""

    def classified(self, num_rows: int, num_tokens: int, num_padded: int, seconds: float) -> None:
        """A call classified so many texts; tokens as of `read`."""


class Commands(Protocol):
    """What an engine is to do, in order: a queue that any thread fills and the engine's empties."""

    def put(self, item: tuple[str, Any]) -> None:
        """Add a command."""

    def empty(self) -> bool:
        """Whether there is none now."""

    def get(self) -> tuple[str, Any]:
        """The next; waits for it."""


class Gauges(NamedTuple):
    """How an engine is.

    Attributes:
        num_running: rows that run together now.
        num_waiting: rows that wait for their turn.
        cache_bytes: bytes that the states of prompts take.
        cache_evictions: states that were dropped for want of room.
    """

    num_running: int = 0
    num_waiting: int = 0
    cache_bytes: int = 0
    cache_evictions: int = 0


Request = TypeVar("Request", bound=EngineRequest)
Reading = TypeVar("Reading")
Step = TypeVar("Step")


class Engine(ABC, Generic[Request, Reading, Step]):
    """Base of the tasks' engines: calls of two kinds, readings and steps.

    Args:
        name: the model's, for the threads and the log.
        num_readers: readings that are made at once, at most.
    """

    def __init__(self, name: str, num_readers: int = 1) -> None:
        self._name = name
        self._commands: Commands = queue.SimpleQueue()
        self._open: set[Request] = set()  # those that are neither finished nor failed
        self._lock = threading.Lock()  # of the next, so that what is put before it is set is seen after
        self._end: ApiError | None = None  # why the thread takes no more requests
        self._delivery: Delivery
        self._thread = threading.Thread(target=self._run, name=f"engine {name}", daemon=True)
        self._reader = ThreadPoolExecutor(
            num_readers, thread_name_prefix=f"reader {name}", initializer=interrupt_nobody
        )
        self._is_idle = True  # there was nothing to run after the last command

    @property
    @abstractmethod
    def num_running(self) -> int:
        """Rows that run together now."""

    @property
    @abstractmethod
    def num_waiting(self) -> int:
        """Rows that wait for their turn."""

    @property
    def gauges(self) -> Gauges:
        """How it is now."""
        return Gauges(self.num_running, self.num_waiting)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self, delivery: Delivery, commands: Commands | None = None) -> None:
        """Start the thread.

        Args:
            delivery: carries its news.
            commands: where it is told what to do, besides by the methods here; those are all when there is none.
        """
        self._delivery = delivery
        if commands is not None:
            self._commands = commands
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()

    def submit(self, request: Request) -> None:
        """Take a request; its news will be in its mailbox.

        Raises:
            UnavailableError: the engine has been stopped.
            EngineError: the engine has ended by itself.
        """
        with self._lock:
            if self._end is not None:
                raise self._end.with_traceback(None)
            self._commands.put(("add", request))

    def cancel(self, request: Request) -> None:
        """Drop a request, finished or not: its rows are free before the next call."""
        self._commands.put(("cancel", request))

    def stop(self) -> None:
        """End the thread. Requests that are not finished fail with UnavailableError."""
        self._commands.put(("stop", None))
        self._thread.join()

    @abstractmethod
    def _next_step(self) -> Step | None:
        """The next step, or None when there is none."""

    @abstractmethod
    def _perform(self, step: Step) -> None:
        """Make a step and post what came of it."""

    @abstractmethod
    def _stepped(self, seconds: float) -> None:
        """What the last step cost, for the scheduler."""

    @abstractmethod
    def _step_failed(self) -> None:
        """The last step has failed: forget what it left half done."""

    @abstractmethod
    def _next_reading(self) -> Reading | None:
        """The next reading, or None when there is none to be made now, as while every reader makes one."""

    @abstractmethod
    def _read(self, reading: Reading) -> Any:
        """Make a reading and give what it finds. In a reader's thread: changes nothing that others see."""

    @abstractmethod
    def _keep(self, reading: Reading, found: Any, seconds: float) -> None:
        """Keep what a reading has found, in so much time; None when it has failed, and its requests with it."""

    @abstractmethod
    def _requests_of(self, call: Reading | Step) -> Iterable[Request]:
        """The requests that take part in a call; some may come more than once."""

    @abstractmethod
    def _begin(self, request: Request) -> None:
        """Hand a new request to the scheduler."""

    @abstractmethod
    def _drop(self, request: Request) -> None:
        """Take a request from the scheduler, wherever it is."""

    def _run(self) -> None:
        error: ApiError = EngineError("The engine has ended because of a bug; restart the server.")
        try:
            while self._obey_commands():
                self._begin_readings()
                self._run_step()
            error = UnavailableError("The server is shutting down; send the request again.", code="draining")
        except Exception as bug:
            log.critical("engine ended", model=self._name, exc_info=bug)
        finally:
            with self._lock:
                self._end = error
            self._reader.shutdown()
            while not self._commands.empty():
                verb, item = self._commands.get()
                if verb == "add":
                    self._open.add(item)
            for request in list(self._open):
                self._fail(request, error)
            self._delivery.flush()
            self._delivery.rest()

    def _begin_readings(self) -> None:
        """Hand the readers their next calls, if there are any."""
        while (reading := self._next_reading()) is not None:
            future = self._reader.submit(self._read_timed, reading)
            future.add_done_callback(functools.partial(self._put_back, reading))

    def _read_timed(self, reading: Reading) -> tuple[Any, float]:
        started = time.perf_counter()
        return self._read(reading), time.perf_counter() - started

    def _put_back(self, reading: Reading, future: "Future[tuple[Any, float]]") -> None:
        self._commands.put(("keep", (reading, future)))

    def _end_reading(self, reading: Reading, future: "Future[tuple[Any, float]]") -> None:
        error = future.exception()
        if error is None:
            self._keep(reading, *future.result())
        else:
            self._fail_call(reading, error)
            self._keep(reading, None, 0.0)
        self._delivery.flush()

    def _run_step(self) -> None:
        """Schedule, run, deliver."""
        step = self._next_step()
        self._is_idle = step is None
        if step is None:
            return
        started = time.perf_counter()
        try:
            self._perform(step)
        except Exception as error:
            self._step_failed()
            self._fail_call(step, error)
        self._delivery.flush()
        self._stepped(time.perf_counter() - started)

    def _obey_commands(self) -> bool:
        """Do what other threads asked for; waits when there is nothing else to do. False: stop."""
        while self._is_idle or not self._commands.empty():
            verb, item = self._wait() if self._commands.empty() else self._commands.get()
            if verb == "stop":
                return False
            if verb == "add":
                self._open.add(item)
                self._begin(item)
            elif verb == "cancel":
                self._forget(item)
            else:
                self._end_reading(*item)
            self._is_idle = False
        return True

    def _wait(self) -> tuple[str, Any]:
        """The next command, when there is none yet. Who gives it is not interrupted by it."""
        self._delivery.rest()
        interrupt_nobody()
        command = self._commands.get()
        come_first()
        return command

    def _forget(self, request: Request) -> None:
        self._open.discard(request)
        self._drop(request)

    def _close(self, request: Request) -> None:
        """The last of a request's news has been posted."""
        self._open.discard(request)

    def _fail_call(self, call: Reading | Step, error: BaseException) -> None:
        """The call failed: so do the requests in it, and no others."""
        log.error("engine call failed", model=self._name, call=type(call).__name__, exc_info=error)
        for request in set(self._requests_of(call)):
            message = "The model failed while it ran; other requests are not affected. Send it again."
            self._fail(request, EngineError(message))

    def _fail_not_finite(self, request: Request) -> None:
        message = "The model gave numbers that are not finite for this text; its weights may be damaged."
        self._fail(request, EngineError(message))

    def _fail(self, request: Request, error: ApiError) -> None:
        """Drop a request and say why; one that is over already, by another of its calls, hears nothing."""
        if request not in self._open:
            return
        self._forget(request)
        self._delivery.post(request, error)
