"""Which sources are encoded and which searches step next. Pure: no clock, no arrays, no threads, no asyncio.

A text is one source; its search takes `width` places of the batch from the step in which it joins to its end, whether
or not it uses all of them at every step. Sources are encoded together, those of like length in one call, ahead of the
places by one batch at most: a request that has nothing encoded and nothing running may always have one text encoded,
so that it never waits for another's whole request. Encode calls are made beside the steps, one at a time (when:
server.engine.turns).

Requests share the places: free ones go to the request with the fewest, of several to the one that has waited longest;
if its text does not fit yet, no other passes it, so that wide searches are not starved by narrow ones. Some places are
for small requests (server.engine.places); a text that is wider than what remains waits for the whole batch.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

from server.engine.alike import alike
from server.engine.line import Line
from server.engine.places import Places, Share
from server.engine.turns import Turns

_LOOKED_AT = 512  # waiting texts that are compared for their length

Owner = TypeVar("Owner")


@dataclass(eq=False, slots=True)
class Text(Generic[Owner]):
    """One source and its search.

    Attributes:
        owner: whatever the caller wants to find again; the scheduler does not look at it.
        num_tokens: tokens of the source, at least 1.
        width: places that its search needs.
        group: the request that it belongs to, whatever tells requests apart.
    """

    owner: Owner
    num_tokens: int
    width: int
    group: Hashable
    is_over: bool = False  # finished or cancelled
    is_reserved: bool = False  # runs in places for small requests


@dataclass(frozen=True, slots=True)
class Encode(Generic[Owner]):
    """A call that encodes sources."""

    texts: list[Text[Owner]]


@dataclass(frozen=True, slots=True)
class Step(Generic[Owner]):
    """A call that gives every row of each search a token.

    Attributes:
        texts: those that continue, where one has ended the last of them in its place, then those that join.
        num_joining: how many join.
    """

    texts: list[Text[Owner]]
    num_joining: int


@dataclass(eq=False, slots=True)
class _Group(Generic[Owner]):
    """What a request holds.

    Attributes:
        encoding: texts that a call encodes now.
        ready: encoded texts without places.
        share: the places of its running texts.
        num_texts: texts that are not over.
    """

    encoding: set[Text[Owner]] = field(default_factory=set)
    ready: dict[Text[Owner], None] = field(default_factory=dict)
    share: Share = field(default_factory=Share)
    num_texts: int = 0


class Scheduler(Generic[Owner]):
    """Decides call by call.

    Args:
        max_rows: places; no text is wider.
        encode_tokens: padded tokens of one encode call; a longer source is encoded alone.
        encode_share: share of the time for encode calls while searches step, above 0, below 1.
    """

    def __init__(self, *, max_rows: int, encode_tokens: int, encode_share: float) -> None:
        self._max_rows = max_rows
        self._places = Places(max_rows)
        self._encode_tokens = encode_tokens
        self._turns = Turns(encode_share)
        self._waiting: Line[Text[Owner]] = Line()
        self._groups: dict[Hashable, _Group[Owner]] = {}  # those with texts that are not over
        self._ready: dict[Hashable, None] = {}  # groups with ready texts, the longest without new places first
        self._running: list[Text[Owner]] = []
        self._num_ready = 0  # places that texts need which are encoded, or are being encoded, and do not run
        self._can_encode = False  # whether something has changed since no source was to be encoded
        self.num_waiting = 0  # places of texts that do not run

    @property
    def num_running(self) -> int:
        """Places that are taken."""
        return self._places.num_taken

    def add(self, text: Text[Owner]) -> None:
        """Let a text wait for its turn. Raises ValueError when it is wider than the batch."""
        if not 1 <= text.width <= self._max_rows:
            raise ValueError(f"a text of width {text.width} does not fit into {self._max_rows} places")
        self._groups.setdefault(text.group, _Group()).num_texts += 1
        self._waiting.add(text.group, text)
        self.num_waiting += text.width
        self._can_encode = True

    def next_encode(self) -> Encode[Owner] | None:
        """The next encode call, or None when there is none to be made now. The caller makes it and calls `encoded`."""
        if not self._can_encode or not self._turns.may_read(can_step=bool(self._running or self._ready)):
            return None
        texts = self._next_sources()
        if not texts:
            return None
        self._turns.begin_reading()
        for text in texts:
            self._waiting.take(text.group, text)
            self._groups[text.group].encoding.add(text)
            self._num_ready += text.width
        return Encode(texts)

    def encoded(self, call: Encode[Owner], seconds: float) -> None:
        """An encode call has been made, in so much time, or has failed and all that was in it is cancelled."""
        self._turns.read(seconds)
        for text in call.texts:
            if not text.is_over:
                group = self._groups[text.group]
                group.encoding.remove(text)
                group.ready[text] = None
                self._ready.setdefault(text.group)

    def next_step(self) -> Step[Owner] | None:
        """The next step, or None when no search can step. The caller makes it, or cancels what is in it."""
        if not (self._running or self._ready):
            return None
        num_continuing = len(self._running)
        while (text := self._next_to_join()) is not None:
            group = self._groups[text.group]
            del group.ready[text], self._ready[text.group]
            if group.ready:
                self._ready[text.group] = None
            self._places.take(group.share, text.width, is_reserved=text.is_reserved)
            self._num_ready -= text.width
            self.num_waiting -= text.width
            self._running.append(text)
            self._can_encode = True
        return Step(list(self._running), len(self._running) - num_continuing)

    def stepped(self, seconds: float) -> None:
        """A step has taken so long."""
        self._turns.stepped(seconds)

    def finish(self, text: Text[Owner]) -> None:
        """A running search is over: its places are free."""
        place = self._running.index(text)
        last = self._running.pop()
        if last is not text:  # takes its place, so that next to no rows move
            self._running[place] = last
        self._places.free(self._groups[text.group].share, text.width, is_reserved=text.is_reserved)
        self._end(text)

    def cancel(self, text: Text[Owner]) -> None:
        """Forget a text, wherever it is. Cancelling twice, or after the end, does nothing."""
        group = self._groups.get(text.group)
        if text.is_over or group is None:
            return
        if self._waiting.discard(text.group, text):
            self.num_waiting -= text.width
        elif text in group.encoding or text in group.ready:
            group.encoding.discard(text)
            if group.ready.pop(text, self) is None and not group.ready:
                del self._ready[text.group]
            self._num_ready -= text.width
            self.num_waiting -= text.width
        else:
            self.finish(text)
            return
        self._end(text)

    def _end(self, text: Text[Owner]) -> None:
        text.is_over = True
        self._can_encode = True
        group = self._groups[text.group]
        group.num_texts -= 1
        if not group.num_texts:
            del self._groups[text.group]

    def _next_sources(self) -> list[Text[Owner]]:
        """Sources for one encode call; empty when enough are encoded already."""
        eligible: list[Text[Owner]] = []
        num_ready = self._num_ready
        seen: set[Hashable] = set()
        for text in islice(self._waiting, _LOOKED_AT):
            group = self._groups[text.group]
            is_without = not (group.encoding or group.ready or group.share.num_places or text.group in seen)
            if is_without or num_ready + text.width <= self._max_rows:
                eligible.append(text)
                num_ready += text.width
                seen.add(text.group)
        self._can_encode = bool(eligible)
        return alike(eligible, lambda text: text.num_tokens, self._encode_tokens, len(eligible)) if eligible else []

    def _next_to_join(self) -> Text[Owner] | None:
        """The text that gets places next, if they are free."""
        groups = [self._groups[key] for key in self._ready]
        allowed = [group for group in groups if self._may_have_more(group)]
        if allowed:
            text = _first(min(allowed, key=lambda group: group.share.num_places))
            if self._places.is_common_free(text.width) or not self._places.num_taken:
                return text
            if text.width > self._places.num_common:  # nobody joins until it has the whole batch
                return None
        for group in groups:
            num_wanted = group.num_texts * _first(group).width - group.share.num_places
            if self._places.is_reserve_free(group.share, num_wanted):
                text = _first(group)
                text.is_reserved = True
                return text
        return None

    def _may_have_more(self, group: _Group[Owner]) -> bool:
        """Whether a request's next text could ever join beside its others."""
        num_places = group.share.num_places
        return not num_places or num_places + _first(group).width <= self._places.num_common


def _first(group: _Group[Owner]) -> Text[Owner]:
    return next(iter(group.ready))
