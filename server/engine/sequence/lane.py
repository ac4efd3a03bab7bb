"""A lane of a model of frames.

A call reads the next chunk of every row whose chunk is padded alike; which chunk that is depends on the row alone. The
row that has waited longest decides which chunks go. Rows of a model without a state are read whole.
"""

import time
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from models.signature import Signature
from runtime.frames import batched, next_chunk, own_answer, stepped
from runtime.padding import padded_length
from runtime.runner import Array, SequenceRunner
from server.engine.lane import Batch, Lane, Observer
from server.engine.scheduler import Chunk, Row, Scheduler, WindowLength
from server.engine.sequence.request import Frames, FramesOutput
from server.errors import FieldError

STATE_MESSAGE = (
    "After these frames the model's state would hold numbers that are not finite, from which it could not go on; the "
    "sequence is as it was. The frames may be too large."
)


class FramesBatch(Batch[Frames]):
    """Rows, the one that has waited longest first.

    Args:
        runner: runs `advance` and `step`.
        signature: of the model.
        has_state: whether rows are read in chunks.
        max_frames: of one call, padding counted; a longer row is read alone.
    """

    def __init__(self, runner: SequenceRunner, signature: Signature, *, has_state: bool, max_frames: int) -> None:
        super().__init__()
        self._max_frames = max_frames
        self._runner = runner
        self._signature = signature
        self._has_state = has_state
        self._waiting: dict[Row[Frames], None] = {}

    def num_wanted(self, most: int) -> int:  # noqa: ARG002
        """See Batch: one call, whatever the rows have left."""
        return 1

    def next_rows(self) -> list[Row[Frames]]:
        """The rows of the next call; they go to the end of those that wait."""
        first = next(iter(self._waiting))
        _, time_of_call = self._chunk(first.item)
        alike = (row for row in self._waiting if self._chunk(row.item)[1] == time_of_call)
        rows = list(islice(alike, max(1, self._max_frames // time_of_call)))
        for row in rows:
            del self._waiting[row]
            self._waiting[row] = None
        return rows

    def read(self, items: list[Frames]) -> tuple[int, int]:
        """Read the next chunk of each, all in one call.

        Returns:
            Frames that were read, without padding and with it.

        Raises:
            RunnerError: the runtime failed.
        """
        signature = self._signature
        lengths = [self._chunk(item)[0] for item in items]
        time_of_call = self._chunk(items[0])[1]
        rows = [
            {
                port.name: item.inputs[port.name][item.num_read : item.num_read + length]
                if port.has_time
                else item.inputs[port.name]
                for port in signature.inputs
            }
            for item, length in zip(items, lengths, strict=True)
        ]
        is_step = self._has_state and time_of_call == 1
        inputs: dict[str, Array] = stepped(signature, rows) if is_step else batched(signature, rows, time_of_call)
        if self._has_state:
            inputs["state"] = np.stack([item.state for item in items])
        found = self._runner.run("step" if is_step else "advance", inputs)
        for index, (item, length) in enumerate(zip(items, lengths, strict=True)):
            for port in signature.outputs:
                own = own_answer(port, found[port.name], index, length, is_step=is_step).copy()
                pieces = item.found.setdefault(port.name, [])
                if not port.has_time:
                    pieces.clear()
                pieces.append(own)
            if self._has_state:
                item.state = found["new_state"][index].copy()
            item.num_read += length
        return sum(lengths), len(items) * time_of_call

    def _chunk(self, item: Frames) -> tuple[int, int]:
        """Frames that the next call reads of a row, and to how many they are padded."""
        num_left = item.num_frames - item.num_read
        if self._has_state:
            return next_chunk(self._signature, num_left)
        return num_left, padded_length(num_left) if self._signature.takes_padding else num_left

    def _put(self, row: Row[Frames]) -> None:
        self._waiting[row] = None

    def _move(self, index: int, source: int) -> None:
        """Nothing is kept by index."""

    def _forget(self, row: Row[Frames]) -> None:
        self._waiting.pop(row, None)


class SequenceLane(Lane[Frames, FramesBatch]):
    """Reads frames of many requests together.

    Args:
        name: the thread's, and the log's.
        scheduler: of this lane alone.
        runner: runs `advance` and `step`.
        signature: of the model.
        has_state: whether it has one.
        max_frames: of one call, padding counted.
        observer: counts.
    """

    def __init__(
        self,
        name: str,
        scheduler: Scheduler[Frames],
        *,
        runner: SequenceRunner,
        signature: Signature,
        has_state: bool,
        max_frames: int,
        observer: Observer,
    ) -> None:
        self._batch = FramesBatch(runner, signature, has_state=has_state, max_frames=max_frames)
        super().__init__(name, scheduler, [self._batch], WindowLength(1), observer)

    def _batch_of(self, item: Frames) -> FramesBatch:  # noqa: ARG002
        return self._batch

    def _prefill(self, chunks: list[Chunk[Frames]]) -> int:  # noqa: ARG002
        """Frames are read by the windows alone."""
        return 0

    def _run_batch(self, batch: FramesBatch, num_steps: int) -> int:
        rows = batch.next_rows()
        for row in rows:
            row.item.request.times.note_began()
        started = time.perf_counter()
        try:
            num_read, num_padded = batch.read([row.item for row in rows])
        except Exception as error:
            self._fail_call((row.item for row in rows), error)  # and not those that wait for another call
            return num_steps
        self._observer.prefilled(num_read, num_padded, time.perf_counter() - started)
        for row in rows:
            row.item.request.times.note_first_token()
            if row.item.num_read == row.item.num_frames:
                self._deliver(row)
        return num_steps

    def _deliver(self, row: Row[Frames]) -> None:
        item = row.item
        if item.request.keeps_state and not np.isfinite(item.state).all():
            error = FieldError(STATE_MESSAGE, param="inputs", code="state_not_finite")
            self._sender.post(item.request.outputs, error)
            self._cancel(item)
            return
        outputs = {name: _joined(pieces) for name, pieces in item.found.items()}
        self._finish(row)
        self._sender.post(item.request.outputs, FramesOutput(item.number, outputs, item.state))


def _joined(pieces: list[Array]) -> NDArray[np.generic]:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
