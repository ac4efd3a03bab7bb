"""A lane: a thread that computes for one model, with runners and rows of its own, until it is stopped.

A model has one lane per core. Between two runtime calls a lane takes the commands that have arrived, schedules the next
call, runs it and sends what came of it. A call computes outside Python's lock, so lanes run beside each other and
beside the event loop. Lanes share nothing but a model's prefix cache.

A call that fails fails the items in it and no others, and nobody waits forever when the thread ends. The thread is a
daemon: a call that never returns cannot be stopped, and must not keep the process alive.
"""

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

import structlog

from server.engine.outputs import OutputQueue, OutputSender, Times
from server.errors import ApiError, EngineError, UnavailableError

log = structlog.get_logger()


FAILED = "The model failed while it ran; other requests are not affected. Send it again."
NOT_FINITE = "The model gave numbers that are not finite for this text; its weights may be damaged."
ENDED = "The engine has ended because of a bug; restart the server."
STOPPED = "The server is shutting down; send the request again."


class EngineItem(Protocol):
    """What a lane works on: one prompt, source or text of a request. Compared by identity."""

    @property
    def outputs(self) -> OutputQueue[Any]:
        """The request's, where its outputs and errors go."""

    @property
    def times(self) -> Times:
        """The request's."""

    @property
    def num_rows(self) -> int:
        """Rows that it takes, for the choice of the lane."""


class Observer(Protocol):
    """Counts what lanes do. Called in lane threads."""

    def prefilled(self, num_tokens: int, num_padded: int, seconds: float) -> None:
        """A prefill or encode call read so many tokens, or with the padding between them so many."""

    def looked_up(self, num_known: int, num_tokens: int) -> None:
        """Of a prompt's tokens that are to be read, so many were in the prefix cache."""

    def decoded(self, num_rows: int, num_steps: int, seconds: float) -> None:
        """A window made so many steps for so many rows; the choice of the tokens is in the time."""

    def classified(self, num_rows: int, num_tokens: int, num_padded: int, seconds: float) -> None:
        """A call read so many whole texts; tokens as of `prefilled`."""


Item = TypeVar("Item", bound=EngineItem)


class Lane(ABC, Generic[Item]):
    """Base of the tasks' lanes.

    Args:
        name: the thread's, and the log's.

    Attributes:
        num_submitted: rows of items that were submitted; written by the event loop alone.
        num_closed: rows of items that are over; written by the lane alone.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._commands: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._open: dict[Item, None] = {}  # items that have neither finished nor failed
        self._lock = threading.Lock()  # of the next, so that what is put before it is set is seen after
        self._end: ApiError | None = None  # why the thread takes no more items
        self._sender: OutputSender
        self._thread = threading.Thread(target=self._run, name=f"lane {name}", daemon=True)
        self.num_submitted = 0
        self.num_closed = 0

    @property
    def load(self) -> int:
        """Rows of items that are not over."""
        return self.num_submitted - self.num_closed

    @property
    @abstractmethod
    def num_running(self) -> int:
        """Rows that are computed together now."""

    @property
    @abstractmethod
    def num_waiting(self) -> int:
        """Rows that wait for their turn."""

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self, sender: OutputSender) -> None:
        """Start the thread, which sends its outputs by `sender`."""
        self._sender = sender
        self._thread.start()

    def submit(self, item: Item) -> None:
        """Take an item. Called by the event loop.

        Raises:
            UnavailableError: the lane has been stopped.
            EngineError: the lane has ended by itself.
        """
        with self._lock:
            if self._end is not None:
                raise self._end.with_traceback(None)
            self.num_submitted += item.num_rows
            self._commands.put(("add", item))

    def cancel(self, item: Item) -> None:
        """Drop an item; a no-op if it is over. Its rows are free before the next call."""
        self._commands.put(("cancel", item))

    def stop(self) -> None:
        """Let the thread end after the call that it is in. Items that are not over fail with UnavailableError."""
        self._commands.put(("stop", None))

    def join(self, seconds: float) -> bool:
        """Wait so long at most until the thread has ended; whether it has. If not, its items fail all the same."""
        self._thread.join(seconds)
        if not self._thread.is_alive():
            return True
        error = UnavailableError(STOPPED, code="draining")
        for item in list(self._open):
            self._sender.post(item.outputs, error)
        self._sender.flush()
        return False

    @abstractmethod
    def _begin(self, item: Item) -> None:
        """Hand a new item to the scheduler."""

    @abstractmethod
    def _drop(self, item: Item) -> None:
        """Take an item from the scheduler and the batch, wherever it is."""

    @abstractmethod
    def _run_once(self) -> bool:
        """Schedule, run, send; False when there was nothing to run."""

    def _run(self) -> None:
        error: ApiError = EngineError(ENDED)
        try:
            is_idle = True
            while self._take_commands(is_idle):
                is_idle = not self._run_once()
                self._sender.flush()
            error = UnavailableError(STOPPED, code="draining")
        except Exception as bug:
            log.critical("lane ended", lane=self._name, exc_info=bug)
        finally:
            with self._lock:
                self._end = error
            while not self._commands.empty():
                verb, item = self._commands.get()
                if verb == "add":
                    self._open[item] = None
            for item in list(self._open):
                self._close(item)
                self._sender.post(item.outputs, error)
            self._sender.flush()

    def _take_commands(self, is_idle: bool) -> bool:
        """Do what the event loop asked for; waits for it when idle. False: stop."""
        while is_idle or not self._commands.empty():
            verb, item = self._commands.get()
            if verb == "stop":
                return False
            if verb == "add":
                self._open[item] = None
                self._begin(item)
            else:
                self._cancel(item)
            is_idle = False
        return True

    def _cancel(self, item: Item) -> None:
        if item in self._open:
            self._drop(item)
            self._close(item)

    def _close(self, item: Item) -> None:
        """An item is over."""
        del self._open[item]
        self.num_closed += item.num_rows

    def _fail_call(self, items: Iterable[Item], error: BaseException) -> None:
        """A call failed: so do the items in it, and no others."""
        log.error("engine call failed", lane=self._name, exc_info=error)
        for item in set(items):
            self._fail(item, EngineError(FAILED))

    def _fail_not_finite(self, item: Item) -> None:
        self._fail(item, EngineError(NOT_FINITE))

    def _fail(self, item: Item, error: ApiError) -> None:
        """Drop an item and send the error; a no-op if it is over."""
        if item in self._open:
            self._sender.post(item.outputs, error)
            self._cancel(item)
