"""Which rows run next. Pure: no clock, no arrays, no threads, no asyncio; the engine tells it what happened.

A sequence is one prompt; its rows are the continuations of that prompt. A sequence is prefilled once, in chunks that
end at multiples of CHUNK (so that the same prefix is always cut alike), up to but not including its last token. Then
each of its rows joins the batch as soon as a place is free; the last prompt token is the first one a row steps with.

Prefill calls are made beside the steps, one at a time (when: server.engine.turns). Prompts that arrive meanwhile are
read together in the next one, which is cheaper than one by one, the more so the busier the server is. Sequences are
prefilled in turn, a chunk each, so that a short prompt does not wait behind a long one.

A row keeps its place in the batch as long as it runs; when it leaves, one that joins takes the place, or else the last
row of the batch does. So from step to step next to nothing moves.

Requests share the places: a free one goes to the request with the fewest running rows, of several to the one that has
waited longest; their prompts begin and are read in turn too, one of each request. Some places are for small requests
(server.engine.places).
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from server.engine.places import Places, Share
from server.engine.turns import Turns

CHUNK = 32  # tokens; prefill chunks end at multiples of this, counted from the start of the sequence

Owner = TypeVar("Owner")


@dataclass(eq=False, slots=True)
class Sequence(Generic[Owner]):
    """One prompt and how far it has come.

    Attributes:
        owner: whatever the caller wants to find again; the scheduler does not look at it.
        num_tokens: tokens of the prompt, at least 1.
        num_rows: continuations of it.
        group: the request that it belongs to, whatever tells requests apart.
        num_prefilled: tokens that are in the state already, or are being read.
        num_joined: rows that have joined the batch.
    """

    owner: Owner
    num_tokens: int
    num_rows: int
    group: Hashable
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
        place: its index in the batch, once it has joined.
        is_reserved: whether it runs in a place for small requests.
    """

    sequence: Sequence[Owner]
    choice: int
    place: int = -1
    is_reserved: bool = False


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


class Change(NamedTuple):
    """A place whose row is another than in the step before.

    Attributes:
        place: its index.
        source: where its row was in the step before, or None when the row joins.
    """

    place: int
    source: int | None


@dataclass(frozen=True, slots=True)
class Step(Generic[Owner]):
    """A call that gives each row one token.

    Attributes:
        rows: by place; not to be changed.
        changes: of the places; the others have the row that they had in the step before.
    """

    rows: list[Row[Owner]]
    changes: list[Change]

    @property
    def joining(self) -> list[Row[Owner]]:
        """The rows that join."""
        return [self.rows[change.place] for change in self.changes if change.source is None]


@dataclass(eq=False, slots=True)
class _Group(Generic[Owner]):
    """What is left of one request.

    Attributes:
        waiting: sequences that have not begun.
        prefilling: sequences that have, in the order of their turns; without those that a call reads now.
        ready: prefilled rows without a place.
        num_rows: rows that have not ended.
        num_in_sight: rows that have begun and not joined.
        share: its places in the batch.
    """

    waiting: deque[Sequence[Owner]] = field(default_factory=deque)
    prefilling: deque[Sequence[Owner]] = field(default_factory=deque)
    ready: deque[Row[Owner]] = field(default_factory=deque)
    num_rows: int = 0
    num_in_sight: int = 0
    share: Share = field(default_factory=Share)


class Scheduler(Generic[Owner]):
    """Decides call by call.

    Args:
        max_rows: rows stepped together.
        prefill_tokens: tokens of one prefill call, at least CHUNK.
        prefill_share: share of the time for prefill calls while rows step, above 0, below 1.

    Attributes:
        num_running: rows in the batch.
        num_waiting: rows that have not joined it.
    """

    def __init__(self, *, max_rows: int, prefill_tokens: int, prefill_share: float) -> None:
        if max_rows < 1 or prefill_tokens < CHUNK:
            raise ValueError(f"max_rows {max_rows} must be >= 1 and prefill_tokens {prefill_tokens} >= {CHUNK}")
        self._max_rows = max_rows
        self._places = Places(max_rows)
        self._prefill_tokens = prefill_tokens
        self._groups: dict[Hashable, _Group[Owner]] = {}  # those with rows that have not ended
        self._waiting: deque[_Group[Owner]] = deque()  # with sequences not begun, in the order of their turns
        self._prefilling: deque[_Group[Owner]] = deque()  # whose turn it is, in order
        self._ready: dict[_Group[Owner], None] = {}  # with ready rows, the longest without a new place first
        self._num_in_sight = 0  # rows begun that have not joined
        self._can_begin = False  # whether something has changed since no more sequences could begin
        self._running: list[Row[Owner] | None] = []  # by place, None where a row has left since the last step
        self._same_again: Step[Owner] = Step([], [])  # the last step, without its changes
        self._turns = Turns(prefill_share)
        self.num_running = 0
        self.num_waiting = 0

    def add(self, sequence: Sequence[Owner]) -> None:
        """Let a sequence wait for its turn."""
        group = self._groups.setdefault(sequence.group, _Group())
        if not group.waiting:
            self._waiting.append(group)
        group.waiting.append(sequence)
        group.num_rows += sequence.num_rows
        self.num_waiting += sequence.num_rows
        self._can_begin = True

    def next_prefill(self) -> Prefill[Owner] | None:
        """The next prefill call, or None when there is none to be made now. The caller makes it and calls `read`."""
        if self._can_begin:
            self._begin_waiting()
        if not self._prefilling or not self._turns.may_read(can_step=bool(self.num_running or self._ready)):
            return None
        self._turns.begin_reading()
        return Prefill(self._next_chunks())

    def read(self, call: Prefill[Owner], seconds: float) -> None:
        """A prefill call has been made, in so much time, or has failed and all that was in it is cancelled."""
        self._turns.read(seconds)
        for chunk in call.chunks:
            sequence = chunk.sequence
            if not sequence.is_cancelled:
                self._go_on(self._groups[sequence.group], sequence)

    def next_step(self) -> Step[Owner] | None:
        """The next step, or None when no row can step. The caller makes it, or cancels what is in it."""
        if self._can_begin:
            self._begin_waiting()
        if not (self.num_running or self._ready):
            return None
        joining = []
        while self._ready and (row := self._next_to_join()) is not None:
            joining.append(row)
        self._can_begin |= bool(joining)
        if joining or self.num_running < len(self._running):
            changes = self._placed(joining)
            self._same_again = Step([row for row in self._running if row is not None], [])
            return Step(self._same_again.rows, changes)
        return self._same_again

    def stepped(self, seconds: float) -> None:
        """A step has taken so long."""
        self._turns.stepped(seconds)

    def finish(self, row: Row[Owner]) -> None:
        """A running row has had its last token: its place is free."""
        group = self._groups[row.sequence.group]
        self._leave(group, row)
        self._end_rows(row.sequence.group, group, 1)

    def cancel(self, sequence: Sequence[Owner]) -> None:
        """Forget a sequence and all its rows, wherever they are. Cancelling twice, or after the end, does nothing."""
        group = self._groups.get(sequence.group)
        if sequence.is_cancelled or group is None:
            return
        sequence.is_cancelled = True
        num_waiting = sequence.num_rows - sequence.num_joined
        self.num_waiting -= num_waiting
        if sequence in group.waiting:
            group.waiting.remove(sequence)
            if not group.waiting:
                self._waiting.remove(group)
        else:
            group.num_in_sight -= num_waiting
            self._num_in_sight -= num_waiting
        if sequence in group.prefilling:
            group.prefilling.remove(sequence)
            if not group.prefilling:
                self._prefilling.remove(group)
        group.ready = deque(row for row in group.ready if row.sequence is not sequence)
        if not group.ready:
            self._ready.pop(group, None)
        leaving = [row for row in self._running if row is not None and row.sequence is sequence]
        for row in leaving:
            self._leave(group, row)
        self._end_rows(sequence.group, group, num_waiting + len(leaving))

    def _leave(self, group: _Group[Owner], row: Row[Owner]) -> None:
        self._running[row.place] = None
        self._places.free(group.share, 1, is_reserved=row.is_reserved)
        self.num_running -= 1

    def _end_rows(self, key: Hashable, group: _Group[Owner], num_rows: int) -> None:
        """So many rows of a group are over, and the group with its last."""
        group.num_rows -= num_rows
        if not group.num_rows:
            del self._groups[key]
        self._can_begin = True

    def _begin_waiting(self) -> None:
        """Begin as many sequences as could fill the batch anew: states of more would only take memory.

        Of a request that has none in sight, one begins even when others' fill it: nobody waits for another's whole
        request.
        """
        self._can_begin = False
        if not self._waiting:
            return
        groups = self._groups.values()
        num_new = sum(1 for group in groups if group.num_in_sight and not group.share.num_places)
        for group in list(self._waiting):
            if not group.num_in_sight and (group.share.num_places or num_new < self._max_rows):
                self._waiting.remove(group)
                self._begin(group)
                num_new += not group.share.num_places
        while self._waiting and self._num_in_sight < self._max_rows:
            self._begin(self._waiting.popleft())

    def _begin(self, group: _Group[Owner]) -> None:
        """Begin the next sequence of a group that has been taken from the line; the group goes to its end."""
        sequence = group.waiting.popleft()
        if group.waiting:
            self._waiting.append(group)
        group.num_in_sight += sequence.num_rows
        self._num_in_sight += sequence.num_rows
        self._go_on(group, sequence)

    def _go_on(self, group: _Group[Owner], sequence: Sequence[Owner]) -> None:
        """Let a sequence wait for its next chunk, or its rows for places."""
        if sequence.is_prefilled:
            group.ready.extend(Row(sequence, choice) for choice in range(sequence.num_rows))
            self._ready.setdefault(group)
            return
        if not group.prefilling:
            self._prefilling.append(group)
        group.prefilling.append(sequence)

    def _next_chunks(self) -> list[Chunk[Owner]]:
        """A chunk of each group in turn, and again, until the call is full or has one of every sequence."""
        chunks: list[Chunk[Owner]] = []
        budget = self._prefill_tokens
        while self._prefilling:
            group = self._prefilling[0]
            sequence = group.prefilling[0]
            start = sequence.num_prefilled
            stop = min((start // CHUNK + 1) * CHUNK, sequence.num_tokens - 1)
            if stop - start > budget:
                break
            budget -= stop - start
            self._prefilling.popleft()
            group.prefilling.popleft()
            if group.prefilling:
                self._prefilling.append(group)
            sequence.num_prefilled = stop
            chunks.append(Chunk(sequence, start, stop))
        return chunks

    def _placed(self, joining: list[Row[Owner]]) -> list[Change]:
        """Give rows that join their places, and close the gaps that remain."""
        running = self._running
        gaps = deque(place for place, row in enumerate(running) if row is None)
        changes = []
        for row in joining:
            if gaps:
                row.place = gaps.popleft()
                running[row.place] = row
            else:
                row.place = len(running)
                running.append(row)
            changes.append(Change(row.place, None))
        while gaps:
            last = running.pop()
            if last is None:  # of the gaps the last one
                gaps.pop()
                continue
            changes.append(Change(gaps[0], last.place))
            last.place = gaps.popleft()
            running[last.place] = last
        return changes

    def _next_to_join(self) -> Row[Owner] | None:
        """The next row that is given a place, if there is one for it."""
        is_reserved = not self._places.is_common_free(1)
        groups = (group for group in self._ready if not is_reserved or self._is_small(group))
        group = min(groups, key=lambda group: group.share.num_places, default=None)
        if group is None:
            return None
        del self._ready[group]
        row = group.ready.popleft()
        if group.ready:
            self._ready[group] = None
        row.is_reserved = is_reserved
        row.sequence.num_joined += 1
        group.num_in_sight -= 1
        self._places.take(group.share, 1, is_reserved=is_reserved)
        self._num_in_sight -= 1
        self.num_waiting -= 1
        self.num_running += 1
        return row

    def _is_small(self, group: _Group[Owner]) -> bool:
        return self._places.is_reserve_free(group.share, group.num_rows - group.share.num_places)
