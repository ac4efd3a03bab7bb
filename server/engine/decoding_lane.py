"""A lane of a model that decodes: prefill calls and windows of decoding steps in turn, over one scheduler."""

import time
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Generic, Protocol

from server.engine.lane import Item, Lane, Observer
from server.engine.scheduler import Chunk, Row, Scheduler
from server.engine.scheduler import Sequence as ScheduledSequence
from server.engine.window import WindowLength


class RowBatch(Protocol[Item]):
    """Rows that are decoded together by one path of the runtime."""

    rows: list[Row[Item]]

    def add(self, row: Row[Item]) -> None:
        """A row joins."""

    def remove(self, row: Row[Item]) -> None:
        """A row leaves."""

    def clear(self) -> None:
        """All rows leave: a call has failed."""

    def num_wanted(self, most: int) -> int:
        """The most steps that any row can still use, from 1 to `most`."""

    def run(self, num_steps: int) -> None:
        """Decode a window and handle what came of it.

        Raises:
            RunnerError: the runtime failed.
        """


class DecodingLane(Lane[Item], Generic[Item]):
    """Base of the lanes that decode.

    Args:
        name: the thread's, and the log's.
        scheduler: of this lane alone.
        window: of this lane alone.
        observer: counts.
    """

    def __init__(self, name: str, scheduler: Scheduler[Item], window: WindowLength, observer: Observer) -> None:
        super().__init__(name)
        self._scheduler = scheduler
        self._window = window
        self._observer = observer
        self._sequences: dict[Item, ScheduledSequence[Item]] = {}
        self._batches: Sequence[RowBatch[Item]] = ()

    @property
    def num_running(self) -> int:
        """Slots that are taken."""
        return self._scheduler.num_running

    @property
    def num_waiting(self) -> int:
        """Slots that rows which do not run yet will take."""
        return self._scheduler.num_waiting

    @abstractmethod
    def _batch_of(self, item: Item) -> RowBatch[Item]:
        """The batch of an item's rows; its options alone decide."""

    @abstractmethod
    def _prefill(self, chunks: list[Chunk[Item]]) -> int:
        """Make a prefill call and keep what it found; the tokens that it read, padding counted."""

    def _schedule(self, sequence: ScheduledSequence[Item]) -> None:
        self._sequences[sequence.owner] = sequence
        self._scheduler.add(sequence)

    def _drop(self, item: Item) -> None:
        for row in self._scheduler.cancel(self._sequences.pop(item)):
            self._batch_of(item).remove(row)

    def _finish(self, row: Row[Item]) -> None:
        """A row has ended, and its item with the last of its rows."""
        item = row.sequence.owner
        self._batch_of(item).remove(row)
        self._scheduler.finish(row)
        if row.sequence.is_over:
            del self._sequences[item]
            self._close(item)

    def _run_once(self) -> bool:
        """See Lane."""
        chunks = self._scheduler.next_prefill()
        if chunks:
            self._run_prefill(chunks)
        for row in self._scheduler.join():
            self._batch_of(row.sequence.owner).add(row)
        batches = [batch for batch in self._batches if batch.rows]
        if batches:
            self._run_window(batches)
        return bool(chunks or batches)

    def _run_prefill(self, chunks: list[Chunk[Item]]) -> None:
        _note_began(chunk.sequence.owner for chunk in chunks)
        started = time.perf_counter()
        num_padded = 0
        try:
            num_padded = self._prefill(chunks)
        except Exception as error:
            self._fail_call((chunk.sequence.owner for chunk in chunks), error)
        seconds = time.perf_counter() - started
        self._scheduler.prefilled(chunks, seconds)
        if num_padded:
            self._observer.prefilled(sum(chunk.stop - chunk.start for chunk in chunks), num_padded, seconds)

    def _run_window(self, batches: list[RowBatch[Item]]) -> None:
        num_rows = sum(len(batch.rows) for batch in batches)
        num_wanted = max(batch.num_wanted(self._window.max_steps) for batch in batches)
        num_steps = self._window.choose(num_rows, num_wanted)
        started = time.perf_counter()
        for batch in batches:
            rows = batch.rows.copy()
            try:
                batch.run(num_steps)
            except Exception as error:
                batch.clear()
                self._fail_call((row.sequence.owner for row in rows), error)
        seconds = time.perf_counter() - started
        self._window.ran(num_rows, num_steps, seconds)
        self._scheduler.decoded(seconds)
        self._observer.decoded(num_rows, num_steps, seconds)


def _note_began(items: Iterable[Item]) -> None:
    for item in items:
        item.times.note_began()
