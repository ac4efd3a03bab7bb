"""Which rows run next. Pure: no clock, no arrays, no threads, no asyncio; the engine tells it what happened.

A sequence is one prompt; its rows are the continuations of that prompt. A sequence is prefilled once, in chunks that
end at multiples of CHUNK (so that the same prefix is always cut alike), up to but not including its last token. Then
each of its rows joins the batch as soon as a place is free; the last prompt token is the first one a row steps with.

While both have work, prefill calls and steps share the time: after a prefill call, rows step until they have had
their share of it too. So neither a long prompt nor a full batch keeps the other waiting, whatever either costs on this
machine; and prompts that arrive meanwhile are read together in the next prefill call, which is cheaper than one by
one, the more so the busier the server is. Sequences are prefilled in turn, a chunk each, so that a short prompt does
not wait behind a long one; rows take free places in the order in which they became ready.
"""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

CHUNK = 32  # tokens; prefill chunks end at multiples of this, counted from the start of the sequence

Owner = TypeVar("Owner")


@dataclass(eq=False, slots=True)
class Sequence(Generic[Owner]):
    """One prompt and how far it has come.

    Attributes:
        owner: whatever the caller wants to find again; the scheduler does not look at it.
        num_tokens: tokens of the prompt, at least 1.
        num_rows: continuations of it.
        num_prefilled: tokens that are in the state already.
        num_joined: rows that have joined the batch.
    """

    owner: Owner
    num_tokens: int
    num_rows: int
    num_prefilled: int = 0
    num_joined: int = 0
    is_cancelled: bool = False

    @property
    def is_prefilled(self) -> bool:
        """Whether only the last token is left."""
        return self.num_prefilled == self.num_tokens - 1


@dataclass(eq=False, slots=True)
class Row(Generic[Owner]):
    """One continuation: the choice-th of its sequence.

    Attributes:
        place: its index in the last step, None before its first.
    """

    sequence: Sequence[Owner]
    choice: int
    place: int | None = None


@dataclass(frozen=True, slots=True)
class Chunk(Generic[Owner]):
    """Tokens start .. stop-1 of a sequence's prompt."""

    sequence: Sequence[Owner]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Prefill(Generic[Owner]):
    """A call that reads one chunk of each of several prompts."""

    chunks: list[Chunk[Owner]]


@dataclass(frozen=True, slots=True)
class Step(Generic[Owner]):
    """A call that gives each row one token.

    Attributes:
        rows: in the order of this step; those that continue first, then those that join.
        sources: for each row its index in the step before, or None when it joins.
        is_rearranged: whether the rows are others, or elsewhere, than in the step before.
    """

    rows: list[Row[Owner]]
    sources: list[int | None]
    is_rearranged: bool


class Scheduler(Generic[Owner]):
    """Decides call by call.

    Args:
        max_rows: rows stepped together.
        prefill_tokens: tokens of one prefill call, at least CHUNK.
        prefill_share: share of the time for prefill calls while rows could step, above 0, below 1.

    Attributes:
        num_running: rows in the batch.
        num_waiting: rows that have not joined it.
    """

    def __init__(self, *, max_rows: int, prefill_tokens: int, prefill_share: float) -> None:
        if max_rows < 1 or prefill_tokens < CHUNK or not 0 < prefill_share < 1:
            raise ValueError(
                f"max_rows {max_rows} must be >= 1, prefill_tokens {prefill_tokens} >= {CHUNK}, "
                f"and prefill_share {prefill_share} between 0 and 1"
            )
        self._max_rows = max_rows
        self._prefill_tokens = prefill_tokens
        self._waiting: deque[Sequence[Owner]] = deque()  # not begun
        self._prefilling: deque[Sequence[Owner]] = deque()  # whose turn it is, in order
        self._ready: deque[Row[Owner]] = deque()  # prefilled, without a place
        self._running: list[Row[Owner]] = []
        self._has_changed = False
        self._steps_per_prefill = (1 - prefill_share) / prefill_share  # time for time
        self._is_step_due = False
        self._step_seconds_due = 0.0  # what rows are owed for the last prefill call
        self.num_waiting = 0

    @property
    def num_running(self) -> int:
        """Rows in the batch."""
        return len(self._running)

    def add(self, sequence: Sequence[Owner]) -> None:
        """Let a sequence wait for its turn."""
        self._waiting.append(sequence)
        self.num_waiting += sequence.num_rows

    def schedule(self) -> Prefill[Owner] | Step[Owner] | None:
        """The next call, or None when there is nothing to do. The caller makes it, or cancels what is in it."""
        self._begin_waiting()
        can_step = bool(self._running or self._ready)
        if self._prefilling and not (can_step and (self._is_step_due or self._step_seconds_due > 0)):
            self._is_step_due = True
            return Prefill(self._next_chunks())
        if can_step:
            self._is_step_due = False
            return self._next_step()
        return None

    def took(self, call: Prefill[Owner] | Step[Owner], seconds: float) -> None:
        """What a call cost, so that the next ones can be shared out."""
        if isinstance(call, Prefill):
            self._step_seconds_due = seconds * self._steps_per_prefill
        else:
            self._step_seconds_due -= seconds

    def finish(self, row: Row[Owner]) -> None:
        """A running row has had its last token: its place is free."""
        self._running.remove(row)
        self._has_changed = True

    def cancel(self, sequence: Sequence[Owner]) -> None:
        """Forget a sequence and all its rows, wherever they are. Cancelling twice, or after the end, does nothing."""
        if sequence.is_cancelled:
            return
        sequence.is_cancelled = True
        for queue in (self._waiting, self._prefilling):
            if sequence in queue:
                queue.remove(sequence)
        self.num_waiting -= sequence.num_rows - sequence.num_joined
        self._ready = deque(row for row in self._ready if row.sequence is not sequence)
        staying = [row for row in self._running if row.sequence is not sequence]
        if len(staying) < len(self._running):
            self._running = staying
            self._has_changed = True

    def _begin_waiting(self) -> None:
        """Begin as many sequences as could fill the batch anew: states of more would only take memory."""
        if not self._waiting:
            return
        in_sight = len(self._ready) + sum(sequence.num_rows for sequence in self._prefilling)
        while self._waiting and in_sight < self._max_rows:
            sequence = self._waiting.popleft()
            in_sight += sequence.num_rows
            if sequence.is_prefilled:
                self._make_ready(sequence)
            else:
                self._prefilling.append(sequence)

    def _next_chunks(self) -> list[Chunk[Owner]]:
        chunks: list[Chunk[Owner]] = []
        budget = self._prefill_tokens
        for _ in range(len(self._prefilling)):
            sequence = self._prefilling[0]
            start = sequence.num_prefilled
            stop = min((start // CHUNK + 1) * CHUNK, sequence.num_tokens - 1)
            if stop - start > budget:
                break
            budget -= stop - start
            self._prefilling.popleft()
            sequence.num_prefilled = stop
            chunks.append(Chunk(sequence, start, stop))
            if sequence.is_prefilled:
                self._make_ready(sequence)
            else:
                self._prefilling.append(sequence)
        return chunks

    def _make_ready(self, sequence: Sequence[Owner]) -> None:
        self._ready.extend(Row(sequence, choice) for choice in range(sequence.num_rows))

    def _next_step(self) -> Step[Owner]:
        while self._ready and len(self._running) < self._max_rows:
            row = self._ready.popleft()
            row.sequence.num_joined += 1
            self.num_waiting -= 1
            self._running.append(row)
            self._has_changed = True
        step = Step(list(self._running), [row.place for row in self._running], self._has_changed)
        self._has_changed = False
        for place, row in enumerate(self._running):
            row.place = place
        return step
