"""Which rows of a lane run next, for models that decode. Pure: no clock, no arrays, no threads, no asyncio.

A sequence is one prompt or source; its rows are its samples, or one beam. It waits, begins (its text is prefilled, as
far as its task's scheduler wants it), and then its rows join the batch as slots become free. A row takes `width` slots
from then to its end: 1, or a beam's size.

Requests share the slots: free ones go to the request that holds the fewest, of several to the one that has waited
longest; if its row does not fit yet, no other passes it, so that wide rows are not starved by narrow ones. Some slots
are reserved for small requests (server.engine.slots); a row that is wider than the common slots waits for the whole
batch. Sequences begin and are prefilled in round-robin order of their requests, ahead of the slots by one batch at
most; a request that has nothing prefilled and nothing running may always begin one sequence, so that it never waits
for another's whole request.

Prefill calls are throttled: after one, windows of decoding steps run for as long as the prefill share says.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from server.engine.slots import SlotAllocator, SlotQuota

Owner = TypeVar("Owner")


@dataclass(eq=False, slots=True)
class Sequence(Generic[Owner]):
    """One prompt or source and how far it has come.

    Attributes:
        owner: whatever the caller wants to find again; the scheduler does not look at it.
        num_tokens: its tokens, at least 1.
        group: the request that it belongs to, any key that identifies requests.
        num_rows: rows that it has.
        width: slots that each of them takes.
        num_prefilled: tokens that its state has read.
        needs_prefill: whether its rows join only when all that can be prefilled is.
        num_joined: rows that have joined the batch.
        num_ended: rows that have had their last token.
        is_over: cancelled, or all its rows have ended.
    """

    owner: Owner
    num_tokens: int
    group: Hashable
    num_rows: int = 1
    width: int = 1
    num_prefilled: int = 0
    needs_prefill: bool = True
    num_joined: int = 0
    num_ended: int = 0
    is_over: bool = False


@dataclass(eq=False, slots=True)
class Row(Generic[Owner]):
    """One row of the batch: the choice-th of its sequence.

    Attributes:
        slot: where its batch keeps it.
        is_reserved: whether it runs in reserved slots.
    """

    sequence: Sequence[Owner]
    choice: int = 0
    slot: int = -1
    is_reserved: bool = False


@dataclass(frozen=True, slots=True)
class Chunk(Generic[Owner]):
    """Tokens start .. stop-1 of a sequence, to be read by one prefill call."""

    sequence: Sequence[Owner]
    start: int
    stop: int


@dataclass(eq=False, slots=True)
class _Group(Generic[Owner]):
    """What a request holds.

    Attributes:
        waiting: sequences that have not begun.
        prefilling: sequences that are to be prefilled further.
        ready: rows without slots.
        running: rows with slots.
        quota: the slots of its running rows.
        num_slots: of all its rows that have not ended.
        num_begun: slots of rows that have begun and do not run.
    """

    waiting: deque[Sequence[Owner]] = field(default_factory=deque)
    prefilling: deque[Sequence[Owner]] = field(default_factory=deque)
    ready: deque[Row[Owner]] = field(default_factory=deque)
    running: dict[Row[Owner], None] = field(default_factory=dict)
    quota: SlotQuota = field(default_factory=SlotQuota)
    num_slots: int = 0
    num_begun: int = 0


class Scheduler(ABC, Generic[Owner]):
    """Decides call by call.

    Args:
        max_rows: slots; no row is wider.
        prefill_share: share of the time for prefill calls while rows are decoded, above 0, below 1.

    Attributes:
        num_waiting: slots of rows that do not run.
    """

    def __init__(self, *, max_rows: int, prefill_share: float) -> None:
        if max_rows < 1 or not 0 < prefill_share < 1:
            raise ValueError(f"max_rows {max_rows} must be >= 1, prefill_share {prefill_share} between 0 and 1")
        self._max_rows = max_rows
        self._slots = SlotAllocator(max_rows)
        self._groups: dict[Hashable, _Group[Owner]] = {}  # those with rows that have not ended
        self._waiting: deque[_Group[Owner]] = deque()  # with sequences that have not begun, in round-robin order
        self._prefilling: deque[_Group[Owner]] = deque()  # the same, with sequences to be prefilled
        self._ready: dict[_Group[Owner], None] = {}  # with ready rows, the longest without a new slot first
        self._num_begun = 0  # slots of rows that have begun and do not run
        self._can_begin = False  # whether something has changed since no more sequences could begin
        self._rest_per_prefill = (1 - prefill_share) / prefill_share  # seconds for a second
        self._seconds_of_rest = 0.0  # of decoding before the next prefill call
        self.num_waiting = 0

    @property
    def num_running(self) -> int:
        """Slots that are taken."""
        return self._slots.num_taken

    @abstractmethod
    def _is_prefilled(self, sequence: Sequence[Owner]) -> bool:
        """Whether the rows of a sequence may join as it is."""

    @abstractmethod
    def _next_chunks(self) -> list[Chunk[Owner]]:
        """What one prefill call reads; `self._prefilling` is not empty. Those sequences are taken from it."""

    def add(self, sequence: Sequence[Owner]) -> None:
        """Let a sequence wait for its turn. Raises ValueError when it is wider than the batch."""
        if not 1 <= sequence.width <= self._max_rows:
            raise ValueError(f"a row of width {sequence.width} does not fit into {self._max_rows} slots")
        group = self._groups.setdefault(sequence.group, _Group())
        if not group.waiting:
            self._waiting.append(group)
        group.waiting.append(sequence)
        num_slots = sequence.num_rows * sequence.width
        group.num_slots += num_slots
        self.num_waiting += num_slots
        self._can_begin = True

    def next_prefill(self) -> list[Chunk[Owner]]:
        """The next prefill call; empty when there is none to be made now. The caller makes it and calls `prefilled`."""
        self._begin_waiting()
        is_throttled = self._seconds_of_rest > 0 and (self.num_running or self._ready)
        return [] if is_throttled or not self._prefilling else self._next_chunks()

    def prefilled(self, chunks: list[Chunk[Owner]], seconds: float) -> None:
        """A prefill call has been made, in so much time, or has failed and all that was in it is cancelled."""
        self._seconds_of_rest = seconds * self._rest_per_prefill
        for chunk in chunks:
            chunk.sequence.num_prefilled = chunk.stop
            if not chunk.sequence.is_over:
                self._continue(self._groups[chunk.sequence.group], chunk.sequence)

    def decoded(self, seconds: float) -> None:
        """A window of decoding steps has taken so long."""
        self._seconds_of_rest -= seconds

    def join(self) -> list[Row[Owner]]:
        """The rows that join the batch now."""
        self._begin_waiting()
        joining = []
        while self._ready and (row := self._next_to_join()) is not None:
            joining.append(row)
        self._can_begin |= bool(joining)
        return joining

    def finish(self, row: Row[Owner]) -> None:
        """A running row has had its last token: its slots are free."""
        group = self._groups[row.sequence.group]
        self._leave(group, row)
        sequence = row.sequence
        sequence.num_ended += 1
        sequence.is_over = sequence.num_ended == sequence.num_rows
        self._end_slots(sequence.group, group, sequence.width)

    def cancel(self, sequence: Sequence[Owner]) -> list[Row[Owner]]:
        """Forget a sequence and all its rows; a no-op when it is over.

        Returns:
            Those of its rows that were running.
        """
        group = self._groups.get(sequence.group)
        if sequence.is_over or group is None:
            return []
        sequence.is_over = True
        num_waiting = (sequence.num_rows - sequence.num_joined) * sequence.width
        self.num_waiting -= num_waiting
        if sequence in group.waiting:
            group.waiting.remove(sequence)
            if not group.waiting:
                self._waiting.remove(group)
        else:
            group.num_begun -= num_waiting
            self._num_begun -= num_waiting
        if sequence in group.prefilling:
            group.prefilling.remove(sequence)
            if not group.prefilling:
                self._prefilling.remove(group)
        group.ready = deque(row for row in group.ready if row.sequence is not sequence)
        if not group.ready:
            self._ready.pop(group, None)
        leaving = [row for row in group.running if row.sequence is sequence]
        for row in leaving:
            self._leave(group, row)
        self._end_slots(sequence.group, group, num_waiting + len(leaving) * sequence.width)
        return leaving

    def _leave(self, group: _Group[Owner], row: Row[Owner]) -> None:
        del group.running[row]
        self._slots.free(group.quota, row.sequence.width, is_reserved=row.is_reserved)

    def _end_slots(self, key: Hashable, group: _Group[Owner], num_slots: int) -> None:
        """So many slots' rows of a group have ended, and the group with its last."""
        group.num_slots -= num_slots
        if not group.num_slots:
            del self._groups[key]
        self._can_begin = True

    def _begin_waiting(self) -> None:
        """Begin as many sequences as could fill the batch anew: states of more would only take memory."""
        if not self._can_begin:
            return
        self._can_begin = False
        if not self._waiting:
            return
        num_new = sum(1 for group in self._groups.values() if group.num_begun and not group.quota.num_slots)
        for group in list(self._waiting):
            if not group.num_begun and (group.quota.num_slots or num_new < self._max_rows):
                self._waiting.remove(group)
                self._begin(group)
                num_new += not group.quota.num_slots
        while self._waiting and self._num_begun < self._max_rows:
            self._begin(self._waiting.popleft())

    def _begin(self, group: _Group[Owner]) -> None:
        """Begin the next sequence of a group that has been taken from the queue; the group goes to its end."""
        sequence = group.waiting.popleft()
        if group.waiting:
            self._waiting.append(group)
        num_slots = sequence.num_rows * sequence.width
        group.num_begun += num_slots
        self._num_begun += num_slots
        self._continue(group, sequence)

    def _continue(self, group: _Group[Owner], sequence: Sequence[Owner]) -> None:
        """Let a sequence wait for its next prefill call, or its rows for slots."""
        if self._is_prefilled(sequence):
            group.ready.extend(Row(sequence, choice) for choice in range(sequence.num_rows))
            self._ready.setdefault(group)
            return
        if not group.prefilling:
            self._prefilling.append(group)
        group.prefilling.append(sequence)

    def _next_to_join(self) -> Row[Owner] | None:
        """The row that is given slots next, if they are free."""
        allowed = [group for group in self._ready if self._may_have_more(group)]
        if allowed:
            group = min(allowed, key=lambda group: group.quota.num_slots)
            width = group.ready[0].sequence.width
            if self._slots.is_common_free(width) or not self._slots.num_taken:
                return self._joined(group, is_reserved=False)
            if width > self._slots.num_common:  # no row joins until it has the whole batch
                return None
        for group in self._ready:
            if self._slots.is_reserve_free(group.quota, group.num_slots - group.quota.num_slots):
                return self._joined(group, is_reserved=True)
        return None

    def _may_have_more(self, group: _Group[Owner]) -> bool:
        """Whether a request's next row could ever join beside its others."""
        num_slots = group.quota.num_slots
        return not num_slots or num_slots + group.ready[0].sequence.width <= self._slots.num_common

    def _joined(self, group: _Group[Owner], *, is_reserved: bool) -> Row[Owner]:
        del self._ready[group]
        row = group.ready.popleft()
        if group.ready:
            self._ready[group] = None
        width = row.sequence.width
        row.is_reserved = is_reserved
        row.sequence.num_joined += 1
        group.running[row] = None
        group.num_begun -= width
        self._slots.take(group.quota, width, is_reserved=is_reserved)
        self._num_begun -= width
        self.num_waiting -= width
        return row
