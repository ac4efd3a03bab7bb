"""Which rows of a lane run next, and for how many steps, for models that decode. Pure: no clock, no arrays, no threads,
no asyncio.

An item (one prompt or source) waits and starts. Where its task's scheduler wants it, prefill calls read its tokens.
Then its rows join the batch as slots become free. A row takes `width` slots until it ends: 1, or a beam's size.

Requests share the slots: free ones go to the request that holds the fewest, of several to the one that has waited
longest; if its row does not fit yet, no other passes it, so that wide rows are not starved by narrow ones. Rows are
never preempted. Of eight slots or more a third is reserved for small requests, so that these do not wait for a large
one to end, however many large ones run. A row that is wider than the common slots waits for the whole batch.

Items start and are prefilled in round-robin order of their requests, until the rows that have started and do not run
could fill the batch. Beyond that, a request that has none of these starts one item if it has running rows, or if fewer
requests without running rows have started one than there are slots. So it does not wait for another's whole request.

Prefill calls are throttled: after one, windows of decode steps run for as long as the prefill share says.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from server.engine.request import EngineRequest, ScheduledItem

Item = TypeVar("Item", bound=ScheduledItem)
LENGTHS = (1, 2, 4, 8)
MOST_SECONDS = 0.025
_SHARE_OF_LAST = 0.2  # of the latest window in the running mean


@dataclass(eq=False, slots=True)
class Row(Generic[Item]):
    """One row of the batch: the choice-th of its item.

    Attributes:
        index: where its batch keeps it; -1 while it is in none.
        is_reserved: whether it runs in reserved slots.
    """

    item: Item
    choice: int = 0
    index: int = -1
    is_reserved: bool = False


@dataclass(frozen=True, slots=True)
class Chunk(Generic[Item]):
    """Tokens start .. stop-1 of an item, to be read by one prefill call."""

    item: Item
    start: int
    stop: int


@dataclass(slots=True)
class SlotQuota:
    """What one request holds.

    Attributes:
        num_slots: its slots.
        num_reserved: those of them that are reserved ones.
    """

    num_slots: int = 0
    num_reserved: int = 0


class SlotAllocator:
    """Counts which slots are held. Most are common; a request that needs few, at most a quarter of the reserve,
    is given reserved ones if all that it needs fits.

    Args:
        num_slots: of the lane, at least 1.

    Attributes:
        num_common: slots for all requests.
        num_taken: slots that are held.
    """

    def __init__(self, num_slots: int) -> None:
        self.num_common = num_slots - (num_slots // 3 if num_slots >= 8 else 0)
        self.num_taken = 0
        self._num_slots = num_slots
        self._num_reserved = 0  # reserved slots that are held

    def is_common_free(self, width: int) -> bool:
        """Whether `width` common slots are free."""
        return self.num_taken - self._num_reserved + width <= self.num_common

    def is_reserve_free(self, quota: SlotQuota, num_wanted: int) -> bool:
        """Whether a request holds no common slot, and the `num_wanted` that it still needs are free reserved ones."""
        holds_common = quota.num_slots > quota.num_reserved
        reserve = self._num_slots - self.num_common
        is_small = quota.num_slots + num_wanted <= max(1, reserve // 4)
        is_free = self._num_reserved + num_wanted <= reserve and self.num_taken + num_wanted <= self._num_slots
        return is_small and not holds_common and is_free

    def take(self, quota: SlotQuota, width: int, *, is_reserved: bool) -> None:
        """Give a request `width` slots; a negative number takes them back."""
        self.num_taken += width
        quota.num_slots += width
        if is_reserved:
            self._num_reserved += width
            quota.num_reserved += width


@dataclass(eq=False, slots=True)
class _Group(Generic[Item]):
    """What a request holds.

    Attributes:
        waiting: items that have not started.
        prefilling: items that are to be prefilled further.
        ready: rows without slots.
        running: rows with slots.
        quota: the slots of its running rows.
        num_slots: of all its rows that have not ended.
        num_started: slots of rows that have started and do not run.
    """

    waiting: deque[Item] = field(default_factory=deque)
    prefilling: deque[Item] = field(default_factory=deque)
    ready: deque[Row[Item]] = field(default_factory=deque)
    running: dict[Row[Item], None] = field(default_factory=dict)
    quota: SlotQuota = field(default_factory=SlotQuota)
    num_slots: int = 0
    num_started: int = 0


class Scheduler(Generic[Item]):
    """Decides call by call. This one makes no prefill calls: rows join at once, and read in the windows.

    Args:
        num_slots: of the lane; no row is wider.
        prefill_share: share of the time for prefill calls while rows are decoded, above 0, below 1.

    Attributes:
        num_waiting: slots of rows that do not run.
    """

    def __init__(self, *, num_slots: int, prefill_share: float) -> None:
        if num_slots < 1 or not 0 < prefill_share < 1:
            raise ValueError(f"num_slots {num_slots} must be >= 1, prefill_share {prefill_share} between 0 and 1")
        self._num_slots = num_slots
        self._slots = SlotAllocator(num_slots)
        self._groups: dict[EngineRequest[Any, Any], _Group[Item]] = {}  # of requests with rows that have not ended
        self._waiting: deque[_Group[Item]] = deque()  # with items that have not started, in round-robin order
        self._prefilling: deque[_Group[Item]] = deque()  # the same, with items to be prefilled
        self._ready: dict[_Group[Item], None] = {}  # with ready rows, the longest without a new slot first
        self._num_started = 0  # slots of rows that have started and do not run
        self._may_start = False  # whether something has changed since no more items could start
        self._decode_per_prefill = (1 - prefill_share) / prefill_share  # seconds for a second
        self._throttle_seconds = 0.0  # of decoding before the next prefill call
        self.num_waiting = 0

    @property
    def num_running(self) -> int:
        """Slots that are taken."""
        return self._slots.num_taken

    def _next_chunks(self) -> list[Chunk[Item]]:
        """What one prefill call reads; `self._prefilling` is not empty. Those items are taken from it."""
        return []

    def _prefers_prefill(self, item: Item) -> bool:  # noqa: ARG002
        """Whether an item that starts, and need not be prefilled, is; its prompt is fed to the windows otherwise."""
        return False

    def add(self, item: Item) -> None:
        """Let an item wait for its turn. Raises ValueError when its rows are wider than the batch."""
        if not 1 <= item.width <= self._num_slots:
            raise ValueError(f"a row of width {item.width} does not fit into {self._num_slots} slots")
        group = self._groups.setdefault(item.request, _Group())
        if not group.waiting:
            self._waiting.append(group)
        group.waiting.append(item)
        group.num_slots += item.num_slots
        self.num_waiting += item.num_slots
        self._may_start = True

    def next_prefill(self) -> list[Chunk[Item]]:
        """The next prefill call; empty when there is none to be made now. The caller makes it and calls `prefilled`."""
        self._start_waiting()
        is_throttled = self._throttle_seconds > 0 and (self.num_running or self._ready)
        return [] if is_throttled or not self._prefilling else self._next_chunks()

    def prefilled(self, chunks: list[Chunk[Item]], seconds: float) -> None:
        """A prefill call has been made, in `seconds`, or has failed and all that was in it is cancelled."""
        self._throttle_seconds = seconds * self._decode_per_prefill
        for chunk in chunks:
            chunk.item.num_read = chunk.stop
        are_read = [chunk.item for chunk in chunks if chunk.stop == chunk.item.num_prefill]
        are_begun = [chunk.item for chunk in reversed(chunks) if chunk.stop < chunk.item.num_prefill]
        for item in are_read + are_begun:  # of these each goes to the front again
            if not item.is_over:
                self._continue(self._groups[item.request], item)

    def decoded(self, seconds: float) -> None:
        """A window of decode steps has taken `seconds`."""
        self._throttle_seconds -= seconds

    def join(self) -> list[Row[Item]]:
        """The rows that join the batch now."""
        self._start_waiting()
        joining = []
        while self._ready and (row := self._next_to_join()) is not None:
            joining.append(row)
        self._may_start |= bool(joining)
        return joining

    def finish(self, row: Row[Item]) -> None:
        """A running row has had its last token: its slots are free."""
        item = row.item
        group = self._groups[item.request]
        self._leave(group, row)
        item.num_ended += 1
        item.is_over = item.num_ended == item.num_rows
        self._end_slots(item, group, item.width)

    def cancel(self, item: Item) -> list[Row[Item]]:
        """Forget an item and all its rows; a no-op when it is over.

        Returns:
            Those of its rows that were running.
        """
        group = self._groups.get(item.request)
        if item.is_over or group is None:
            return []
        item.is_over = True
        num_waiting = (item.num_rows - item.num_joined) * item.width
        self.num_waiting -= num_waiting
        if item in group.waiting:
            group.waiting.remove(item)
            if not group.waiting:
                self._waiting.remove(group)
        else:
            group.num_started -= num_waiting
            self._num_started -= num_waiting
        if item in group.prefilling:
            group.prefilling.remove(item)
            if not group.prefilling:
                self._prefilling.remove(group)
        group.ready = deque(row for row in group.ready if row.item is not item)
        if not group.ready:
            self._ready.pop(group, None)
        leaving = [row for row in group.running if row.item is item]
        for row in leaving:
            self._leave(group, row)
        self._end_slots(item, group, num_waiting + len(leaving) * item.width)
        return leaving

    def _leave(self, group: _Group[Item], row: Row[Item]) -> None:
        del group.running[row]
        self._slots.take(group.quota, -row.item.width, is_reserved=row.is_reserved)

    def _end_slots(self, item: Item, group: _Group[Item], num_slots: int) -> None:
        """Rows of an item have ended that took `num_slots`; with its last row, the group ends."""
        group.num_slots -= num_slots
        if not group.num_slots:
            del self._groups[item.request]
        self._may_start = True

    def _start_waiting(self) -> None:
        """Start as many items as could fill the batch anew: states of more would only take memory."""
        if not self._may_start:
            return
        self._may_start = False
        if not self._waiting:
            return
        num_new = sum(1 for group in self._groups.values() if group.num_started and not group.quota.num_slots)
        for group in list(self._waiting):
            if not group.num_started and (group.quota.num_slots or num_new < self._num_slots):
                self._waiting.remove(group)
                self._start(group)
                num_new += not group.quota.num_slots
        while self._waiting and self._num_started < self._num_slots:
            self._start(self._waiting.popleft())

    def _start(self, group: _Group[Item]) -> None:
        """Start the next item of a group that has been taken from the queue; the group goes to its end."""
        item = group.waiting.popleft()
        if group.waiting:
            self._waiting.append(group)
        group.num_started += item.num_slots
        self._num_started += item.num_slots
        item.needs_prefill = item.needs_prefill or self._prefers_prefill(item)
        self._continue(group, item)

    def _continue(self, group: _Group[Item], item: Item) -> None:
        """Let an item wait for its next prefill call, or its rows for slots."""
        if not item.needs_prefill or item.num_read == item.num_prefill:
            group.ready.extend(Row(item, choice) for choice in range(item.num_rows))
            self._ready.setdefault(group)
        elif item.num_read:  # is begun
            if group.prefilling:
                self._prefilling.remove(group)
            self._prefilling.appendleft(group)
            group.prefilling.appendleft(item)
        else:
            if not group.prefilling:
                self._prefilling.append(group)
            group.prefilling.append(item)

    def _next_to_join(self) -> Row[Item] | None:
        """The row that is given slots next, if they are free."""
        allowed = [group for group in self._ready if self._may_have_more(group)]
        if allowed:
            group = min(allowed, key=lambda group: group.quota.num_slots)
            width = group.ready[0].item.width
            if self._slots.is_common_free(width) or not self._slots.num_taken:
                return self._joined(group, is_reserved=False)
            if width > self._slots.num_common:  # no row joins until it has the whole batch
                return None
        for group in self._ready:
            if self._slots.is_reserve_free(group.quota, group.num_slots - group.quota.num_slots):
                return self._joined(group, is_reserved=True)
        return None

    def _may_have_more(self, group: _Group[Item]) -> bool:
        """Whether a request's next row could ever join beside its others."""
        num_slots = group.quota.num_slots
        return not num_slots or num_slots + group.ready[0].item.width <= self._slots.num_common

    def _joined(self, group: _Group[Item], *, is_reserved: bool) -> Row[Item]:
        del self._ready[group]
        row = group.ready.popleft()
        if group.ready:
            self._ready[group] = None
        width = row.item.width
        row.is_reserved = is_reserved
        row.item.num_joined += 1
        group.running[row] = None
        group.num_started -= width
        self._slots.take(group.quota, width, is_reserved=is_reserved)
        self._num_started -= width
        self.num_waiting -= width
        return row


class WindowLength:
    """Chooses how many decode steps run between two scheduling points (multi-step decoding).

    Between two calls Python needs a fraction of a millisecond, whatever their length, and rows join and leave only
    there. So a window has max_steps steps, unless a step is so slow that a new request would wait too long for the
    window's end. What a row computes does not depend on it.

    Args:
        max_steps: at least 1; windows are the lengths of LENGTHS up to it.
        most_seconds: a window of more than one step lasts no longer.
    """

    def __init__(self, max_steps: int = LENGTHS[-1], most_seconds: float = MOST_SECONDS) -> None:
        self.max_steps = max_steps
        self._lengths = [length for length in LENGTHS if length <= max_steps]
        self._most_seconds = most_seconds
        self._step_seconds: dict[int, float] = {}  # by binary digits of the number of rows

    def choose(self, num_rows: int, num_wanted: int) -> int:
        """The steps of the next window.

        Args:
            num_rows: rows that run, at least 1.
            num_wanted: the most steps that any row can still use, at least 1.
        """
        step_seconds = self._step_seconds.get(num_rows.bit_length(), self._most_seconds)
        chosen = self._lengths[0]
        for length in self._lengths[1:]:
            if chosen >= num_wanted or length * step_seconds > self._most_seconds:
                break
            chosen = length
        return chosen

    def record(self, num_rows: int, num_steps: int, seconds: float) -> None:
        """A window of `num_steps` steps for `num_rows` rows has taken `seconds`."""
        key, found = num_rows.bit_length(), seconds / num_steps
        known = self._step_seconds.get(key, found)
        self._step_seconds[key] = known + _SHARE_OF_LAST * (found - known)
