"""Sessions by id, within budgets of number, bytes and idle time. Pure: its clocks are arguments; of where a session
stands only its size is looked at.

When there is no room, those that were used longest ago go, never one that a request is using, and only of clients that
have more than their share: a budget by the number of clients. So one client's sessions never displace those of many
that have few each. Of those that have gone their ids are remembered for a while, so that the answer can say why; of
those that were deleted until they would have expired, so that none comes back.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from server.errors import OverloadedError, SessionBusyError, SessionGoneError, SessionNotFoundError, shown
from server.sessions.point import Point

Reason = Literal["expired", "number", "bytes"]
REASONS: tuple[Reason, ...] = ("expired", "number", "bytes")
_MOST_GONE = 10_000  # ids remembered


@dataclass(eq=False, slots=True)
class Session:
    """One session."""

    id: str  # what requests call it
    model: str  # the id of the model that it belongs to
    point: Point  # where it stands; changed by SessionStore.give_back
    ttl_seconds: float  # how long it is kept unused
    used: float  # when it was used last, seconds of the store's clock
    used_at: float  # the same, seconds since 1970
    client: str = ""  # who made it (server.http.access.client_of)
    is_busy: bool = False  # whether a request is using it; then only that request changes or removes it
    num_uses: int = 0  # how many requests have used it

    @property
    def expires(self) -> float:
        """When it goes if it is not used, seconds of the store's clock."""
        return self.used + self.ttl_seconds

    @property
    def expires_at(self) -> float:
        """The same, seconds since 1970."""
        return self.used_at + self.ttl_seconds


@dataclass(frozen=True)
class Words:
    """What messages call the things that are kept, and their settings.

    Attributes:
        thing: one of them.
        way: how a new one is made, a sentence.
        number: the setting of how many are kept.
        bytes: the setting of the bytes that all may take.
    """

    thing: str
    way: str
    number: str
    bytes: str


_OF_SESSIONS = Words("Session", "POST /v1/sessions makes a new one.", "RNNSERVE_MAX_SESSIONS", "RNNSERVE_SESSION_BYTES")


class SessionStore:
    """Holds sessions.

    Args:
        max_sessions: at most so many.
        max_bytes: that all may take.
        max_deleted: ids of deleted ones that are remembered, at most.
        evicted: called with the reason for each session that is evicted or expires.
        clock: gives the time, seconds from any moment on; it never goes back.
        wall_clock: gives the time, seconds since 1970, for what is shown and written.
        words: for messages.
    """

    def __init__(
        self,
        max_sessions: int,
        max_bytes: int,
        max_deleted: int,
        evicted: Callable[[Reason], None],
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        words: Words = _OF_SESSIONS,
    ) -> None:
        self.num_bytes = 0  # taken now
        self._words = words
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._max_deleted = max_deleted
        self._evicted = evicted
        self._clock = clock
        self._wall_clock = wall_clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # the longest unused first
        self._gone: OrderedDict[str, tuple[str, str]] = OrderedDict()  # id -> code and sentence
        self._deleted: OrderedDict[str, float] = OrderedDict()  # id -> when it would have expired
        self._next_expiry = math.inf  # nothing expires before

    def all(self) -> list[Session]:
        """Every session, the last used first."""
        self._expire()
        return list(reversed(self._sessions.values()))

    def find(self, session_id: str) -> Session:
        """The session of that id; this is no use.

        Raises:
            SessionGoneError: it was deleted.
            SessionNotFoundError: there is none. It never names other sessions.
        """
        self._expire()
        if session_id in self._sessions:
            return self._sessions[session_id]
        self._check_not_deleted(session_id)
        words = self._words
        default = "session_not_found", f"{words.thing} {shown(session_id)} not found. {words.way}"
        code, sentence = self._gone.get(session_id, default)
        raise SessionNotFoundError(sentence, param="session", code=code)

    def add(
        self, session_id: str, model: str, point: Point, ttl_seconds: float, client: str = "", idle_seconds: float = 0
    ) -> Session:
        """Keep a session, see Session; one of that id is replaced. Others may go to make room.

        Args:
            session_id: its id.
            model: the id of its model.
            point: where it stands.
            ttl_seconds: how long it is kept unused.
            client: who makes it.
            idle_seconds: how long it has been unused.

        Raises:
            SessionGoneError: one of that id was deleted.
            SessionBusyError: the one of that id is being used.
            OverloadedError: there is no room, because requests are using the others, or these belong to clients that
                have few.
        """
        self._expire()
        self._check_not_deleted(session_id)
        old = self._sessions.get(session_id)
        if old is not None:
            _free(old)
        num_bytes = point.num_bytes
        victims, has_room = self._victims(client, num_sessions=1, num_bytes=num_bytes, replaced=old)
        if not has_room:
            num_busy = sum(item.is_busy for item in self._sessions.values())
            words, thing = self._words, self._words.thing.lower()
            raise OverloadedError(
                f"No room for a {thing} of {num_bytes} bytes: there are {len(self._sessions)} of at most "
                f"{self._max_sessions} {thing}s, with {self.num_bytes} of {self._max_bytes} bytes "
                f"({words.number}, {words.bytes}). Requests are using {num_busy}, and the others "
                "belong to clients that have few. Try again in a moment, or delete one of yours.",
                code=f"{thing}s_full",
                headers={"retry-after": "1"},
            )
        if old is not None:
            self._drop(old)
        self._gone.pop(session_id, None)
        for session, reason in victims:
            self._evict(session, reason)
        used, used_at = self._clock() - idle_seconds, self._wall_clock() - idle_seconds
        session = Session(session_id, model, point, ttl_seconds, used, used_at, client)
        self._sessions[session_id] = session
        self.num_bytes += num_bytes
        self._next_expiry = min(self._next_expiry, session.expires)
        return session

    def take(self, session_id: str) -> Session:
        """Begin to use a session; end with `give_back`. Raises as `find`, and SessionBusyError: it is being used."""
        session = _free(self.find(session_id))
        session.is_busy = True
        session.num_uses += 1
        self._touch(session)
        return session

    def give_back(self, session: Session, point: Point | None = None) -> None:
        """End a use; with a point the session stands there now. Others may go if it has grown; it may go itself only if
        nothing else can that is not of a client that has few.
        """
        assert session.is_busy
        session.is_busy = False
        if point is not None:
            self.num_bytes += point.num_bytes - session.point.num_bytes
            session.point = point
        self._touch(session)
        victims, _ = self._victims(session.client)
        for victim, reason in victims:
            self._evict(victim, reason)

    def remove(self, session_id: str) -> None:
        """Delete a session: its id is not used again before it would have expired. Raises as `take`."""
        session = _free(self.find(session_id))
        self._drop(session)
        self._delete(session_id, session.expires)

    def _delete(self, session_id: str, until: float) -> None:
        """Remember that an id was deleted, until a moment of the clock."""
        self._gone.pop(session_id, None)
        self._deleted[session_id] = until
        if len(self._deleted) > self._max_deleted:
            self._deleted.popitem(last=False)

    def _check_not_deleted(self, session_id: str) -> None:
        until = self._deleted.get(session_id)
        if until is None:
            return
        if until > self._clock():
            raise SessionGoneError(
                f"Session {shown(session_id)} was deleted. POST /v1/sessions makes a new one.", param="session"
            )
        del self._deleted[session_id]

    def _idle(self) -> list[Session]:
        return [item for item in self._sessions.values() if not item.is_busy]

    def _expire(self) -> None:
        """Let those go that have not been used for their time."""
        now = self._clock()
        if now >= self._next_expiry:
            for session in [item for item in self._idle() if item.expires <= now]:
                self._evict(session, "expired")
            self._next_expiry = min((item.expires for item in self._idle()), default=math.inf)

    def _touch(self, session: Session) -> None:
        session.used, session.used_at = self._clock(), self._wall_clock()
        self._sessions.move_to_end(session.id)
        self._next_expiry = min(self._next_expiry, session.expires)

    def _victims(
        self, client: str, num_sessions: int = 0, num_bytes: int = 0, replaced: Session | None = None
    ) -> tuple[list[tuple[Session, Reason]], bool]:
        """Which idle sessions are to go, and why, so that a client's have room to grow.

        A client that has over its share gives up its own before those of clients that have less than half as many (or
        as many bytes). One that has less than its share gives up its own only if no client has more.

        Args:
            client: whose.
            num_sessions: by so many.
            num_bytes: and so many bytes.
            replaced: goes anyway.

        Returns:
            The sessions, in the order in which they go, and whether that is enough.
        """
        sessions_left, bytes_left = len(self._sessions) + num_sessions, self.num_bytes + num_bytes
        if replaced is not None:
            sessions_left, bytes_left = sessions_left - 1, bytes_left - replaced.point.num_bytes
        if sessions_left <= self._max_sessions and bytes_left <= self._max_bytes:
            return [], True
        present = [item for item in self._sessions.values() if item is not replaced]
        numbers = Counter(item.client for item in present)
        sizes: Counter[str] = Counter()
        for item in present:
            sizes[item.client] += item.point.num_bytes
        numbers[client] += num_sessions
        sizes[client] += num_bytes
        idle = [item for item in present if not item.is_busy]
        victims: list[tuple[Session, Reason]] = []
        while sessions_left > self._max_sessions or bytes_left > self._max_bytes:
            is_number = sessions_left > self._max_sessions
            held, most = (numbers, self._max_sessions) if is_number else (sizes, self._max_bytes)
            share, least = most / len(numbers), held[client] / 2
            of_many = (item for item in idle if held[item.client] > share and held[item.client] >= least)
            found = next(of_many, None) or next((item for item in idle if item.client == client), None)
            if found is None:
                return victims, False
            idle.remove(found)
            victims.append((found, "number" if is_number else "bytes"))
            sessions_left -= 1
            bytes_left -= found.point.num_bytes
            numbers[found.client] -= 1
            sizes[found.client] -= found.point.num_bytes
        return victims, True

    def _evict(self, session: Session, reason: Reason) -> None:
        self._drop(session)
        self._evicted(reason)
        if reason == "expired":
            code, why = "session_expired", f"has expired: it was not used for {session.ttl_seconds:g} s"
        else:
            budget = self._words.number if reason == "number" else self._words.bytes
            code, why = "session_evicted", f"was dropped to make room for others ({budget})"
        words = self._words
        self._remember(session.id, code, f"{words.thing} {shown(session.id)} {why}. {words.way}")

    def _remember(self, session_id: str, code: str, sentence: str) -> None:
        """What to answer to requests for a session that is not here."""
        self._gone[session_id] = code, sentence
        if len(self._gone) > _MOST_GONE:
            self._gone.popitem(last=False)

    def _drop(self, session: Session) -> None:
        del self._sessions[session.id]
        self.num_bytes -= session.point.num_bytes


def _free(session: Session) -> Session:
    """The session. Raises SessionBusyError where a request is using it."""
    if session.is_busy:
        raise SessionBusyError(
            f"Session {shown(session.id)} is being used by another request. Wait for its answer, or fork the session "
            "before both.",
            param="session",
        )
    return session
