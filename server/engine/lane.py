"""A lane: a worker thread that decodes for one model, with runners, a scheduler and batches of its own.

Between two runtime calls a lane takes the commands that have arrived. Then it makes a prefill call if one is due, lets
rows join, runs one window of decode steps and sends what came of it. A call computes outside Python's lock, so lanes
run in parallel with each other and with the event loop.

A call that fails fails the items in it and no others. When the thread ends, all its items fail. The thread is a daemon:
a call that never returns cannot be stopped, and must not keep the process alive.
"""

import os
import queue
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

import structlog

from server.engine.request import OutputSender
from server.engine.scheduler import Chunk, Item, Row, Scheduler, WindowLength
from server.errors import ApiError, EngineError, UnavailableError

log = structlog.get_logger()


NICENESS = 5  # of lanes, above that of the process
FAILED_MESSAGE = "The model failed while it ran; other requests are not affected. Send it again."
NOT_FINITE_MESSAGE = "The model gave numbers that are not finite for this text; its weights may be damaged."
ENDED_MESSAGE = "The engine has ended because of a bug; restart the server."
STOPPED_MESSAGE = "The model is being unloaded, or the server is shutting down; send the request again."


def lower_priority() -> None:
    """Lower the priority of the calling thread, so that the event loop is woken at once while lanes compute.

    On Linux, where priorities are of threads; elsewhere a no-op. `python -m benchmarks event-loop` has what it brings.
    """
    if sys.platform == "linux":
        niceness = min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def ids_of(items: Iterable[Any]) -> list[str]:
    """The ids of the requests that items belong to, for the log."""
    return sorted({item.request.id for item in items})


class Observer(Protocol):
    """Counts what lanes do. Called in lane threads."""

    def prefilled(self, num_tokens: int, num_padded: int, seconds: float) -> None:
        """A prefill or encode call has read `num_tokens` tokens, `num_padded` with the padding between them."""

    def looked_up(self, num_known: int, num_tokens: int) -> None:
        """Of a prompt's `num_tokens` tokens that are to be read, `num_known` were in the prefix cache."""

    def decoded(self, num_rows: int, num_steps: int, seconds: float) -> None:
        """A window has made `num_steps` steps for `num_rows` rows; the choice of the tokens is in the time."""

    def classified(self, num_rows: int, num_tokens: int, num_padded: int, seconds: float) -> None:
        """A call has read `num_rows` whole texts; tokens as of `prefilled`."""


class Batch(ABC, Generic[Item]):
    """Base of the tasks' batches: a row keeps its index until it leaves; then the last row takes its index.

    Attributes:
        rows: by index.
    """

    def __init__(self) -> None:
        self.rows: list[Row[Item]] = []

    @abstractmethod
    def num_wanted(self, most: int) -> int:
        """The most steps that any row can still use, from 1 to `most`."""

    @abstractmethod
    def _put(self, row: Row[Item]) -> None:
        """A row has joined, at row.index."""

    @abstractmethod
    def _move(self, index: int, source: int) -> None:
        """The row of index `source` goes to `index`."""

    @abstractmethod
    def _forget(self, row: Row[Item]) -> None:
        """A row has left."""

    def add(self, row: Row[Item]) -> None:
        """A row joins."""
        row.index = len(self.rows)
        self.rows.append(row)
        self._put(row)

    def remove(self, row: Row[Item]) -> None:
        """A row leaves; a no-op if it has left."""
        index = row.index
        if index < 0:
            return
        row.index = -1
        self._forget(row)
        last = self.rows.pop()
        if last is not row:
            self.rows[index] = last
            last.index = index
            self._move(index, len(self.rows))

    def clear(self) -> None:
        """All rows leave: a call has failed."""
        while self.rows:
            self.remove(self.rows[-1])


BatchT = TypeVar("BatchT", bound=Batch[Any])


class Lane(ABC, Generic[Item, BatchT]):
    """Base of the tasks' lanes.

    Args:
        name: the thread's, and the log's.
        scheduler: of this lane alone.
        batches: one for each path of the runtime.
        window: of this lane alone.
        observer: counts.

    Attributes:
        num_submitted: slots of items that were submitted; written by the event loop alone.
        num_closed: slots of items that are over; written by the lane alone.
        busy_since: when what the lane is doing began, on time.monotonic's clock; 0 while it waits for work.
    """

    def __init__(
        self, name: str, scheduler: Scheduler[Item], batches: list[BatchT], window: WindowLength, observer: Observer
    ) -> None:
        self._name = name
        self._scheduler = scheduler
        self._batches = batches
        self._window = window
        self._observer = observer
        self._commands: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self._open: dict[Item, None] = {}  # items that have neither finished nor failed
        self._lock = threading.Lock()  # of the next, so that what is put before it is set is seen after
        self._end: ApiError | None = None  # why the thread takes no more items
        self._sender: OutputSender
        self._thread = threading.Thread(target=self._run, name=f"lane {name}", daemon=True)
        self.num_submitted = 0
        self.num_closed = 0
        self.busy_since = 0.0

    @property
    def load(self) -> int:
        """Slots of items that are not over."""
        return self.num_submitted - self.num_closed

    @property
    def num_running(self) -> int:
        """Slots that are taken."""
        return self._scheduler.num_running

    @property
    def num_waiting(self) -> int:
        """Slots that rows which do not run yet will take."""
        return self._scheduler.num_waiting

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
            self.num_submitted += item.num_slots
            self._commands.put(("add", item))

    def cancel(self, item: Item) -> None:
        """Drop an item; a no-op if it is over. Its rows are free before the next call."""
        self._commands.put(("cancel", item))

    def stop(self) -> None:
        """Let the thread end after the call that it is in. Items that are not over fail with UnavailableError."""
        self._commands.put(("stop", None))

    def join(self, seconds: float) -> bool:
        """Wait at most `seconds` until the thread has ended; whether it has. If not, its items fail all the same."""
        self._thread.join(seconds)
        if not self._thread.is_alive():
            return True
        self._post_error(list(self._open), UnavailableError(STOPPED_MESSAGE, code="draining"))
        return False

    @abstractmethod
    def _batch_of(self, item: Item) -> BatchT:
        """The batch of an item's rows; its options alone decide."""

    @abstractmethod
    def _prefill(self, chunks: list[Chunk[Item]]) -> int:
        """Make a prefill call and keep what it found; the tokens that it read, padding counted."""

    @abstractmethod
    def _run_batch(self, batch: BatchT, num_steps: int) -> int:
        """Run a window of a batch and handle what came of it; the steps made. Raises RunnerError."""

    def _run(self) -> None:
        lower_priority()
        error: ApiError = EngineError(ENDED_MESSAGE)
        try:
            is_idle = True
            while self._take_commands(is_idle):
                self.busy_since = time.monotonic()
                is_idle = not self._run_once()
                self._sender.flush()
                self.busy_since = 0.0
            error = UnavailableError(STOPPED_MESSAGE, code="draining")
        except Exception as bug:
            log.critical("lane ended", lane=self._name, exc_info=bug)
        finally:
            with self._lock:
                self._end = error
            while not self._commands.empty():
                verb, item = self._commands.get()
                if verb == "add":
                    self._open[item] = None
            failing = list(self._open)
            for item in failing:
                self._close(item)
            self._post_error(failing, error)

    def _post_error(self, items: list[Item], error: ApiError) -> None:
        for item in items:
            self._sender.post(item.request.outputs, error)
        self._sender.flush()

    def _take_commands(self, is_idle: bool) -> bool:
        """Do what the event loop asked for; waits for it when idle. False: stop."""
        while is_idle or not self._commands.empty():
            verb, item = self._commands.get()
            if verb == "stop":
                return False
            if verb == "add":
                self._open[item] = None
                self._add(item)
            else:
                self._cancel(item)
            is_idle = False
        return True

    def _run_once(self) -> bool:
        """Schedule, run, send; False when there was nothing to run."""
        chunks = self._scheduler.next_prefill()
        if chunks:
            self._run_prefill(chunks)
        for row in self._scheduler.join():
            self._batch_of(row.item).add(row)
        batches = [batch for batch in self._batches if batch.rows]
        if batches:
            self._run_window(batches)
        return bool(chunks or batches)

    def _run_prefill(self, chunks: list[Chunk[Item]]) -> None:
        for chunk in chunks:
            chunk.item.request.times.note_began()
        started = time.perf_counter()
        num_padded = 0
        try:
            num_padded = self._prefill(chunks)
        except Exception as error:
            self._fail_call((chunk.item for chunk in chunks), error)
        seconds = time.perf_counter() - started
        self._scheduler.prefilled(chunks, seconds)
        if num_padded:
            self._observer.prefilled(sum(chunk.stop - chunk.start for chunk in chunks), num_padded, seconds)

    def _run_window(self, batches: list[BatchT]) -> None:
        num_rows = self._scheduler.num_running
        num_wanted = max(batch.num_wanted(self._window.max_steps) for batch in batches)
        num_steps = self._window.choose(num_rows, num_wanted)
        num_made, has_failed = 0, False
        started = time.perf_counter()
        for batch in batches:
            rows = batch.rows.copy()
            try:
                num_made = max(num_made, self._run_batch(batch, num_steps))
            except Exception as error:
                has_failed = True
                batch.clear()
                self._fail_call((row.item for row in rows), error)
        seconds = time.perf_counter() - started
        self._scheduler.decoded(seconds)
        if not has_failed:  # the time of a failed call says nothing about steps
            self._window.record(num_rows, num_made, seconds)
            self._observer.decoded(num_rows, num_made, seconds)

    def _add(self, item: Item) -> None:
        """Hand a new item to the scheduler."""
        self._scheduler.add(item)

    def _finish(self, row: Row[Item]) -> None:
        """A row has ended, and its item with the last of its rows."""
        self._batch_of(row.item).remove(row)
        self._scheduler.finish(row)
        if row.item.is_over:
            self._close(row.item)

    def _cancel(self, item: Item) -> None:
        """Take an item from the scheduler and the batch, wherever it is; a no-op if it is over."""
        if item in self._open:
            for row in self._scheduler.cancel(item):
                self._batch_of(item).remove(row)
            self._close(item)

    def _close(self, item: Item) -> None:
        """An item is over."""
        del self._open[item]
        self.num_closed += item.num_slots

    def _fail_call(self, items: Iterable[Item], error: BaseException) -> None:
        """A call failed: so do the items in it, and no others."""
        failing = set(items)
        log.error("engine call failed", lane=self._name, requests=ids_of(failing), exc_info=error)
        for item in failing:
            self._fail(item, FAILED_MESSAGE)

    def _fail(self, item: Item, message: str) -> None:
        """Drop an item and send the error; a no-op if it is over."""
        if item in self._open:
            self._sender.post(item.request.outputs, EngineError(message))
            self._cancel(item)
