"""Sessions by id, within budgets of number, bytes and idle time. Pure: its clock is an argument; of where a session
stands only its size is looked at.

When there is no room, those that were used longest ago go, never one that a request is using. Of those that have gone
their ids are remembered for a while, so that the answer can say why.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from server.errors import OverloadedError, SessionBusyError, SessionNotFoundError, shown
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
    used: float  # when it was used last, seconds since 1970
    is_busy: bool = False  # whether a request is using it; then only that request changes or removes it
    num_uses: int = 0  # how many requests have used it

    @property
    def expires(self) -> float:
        """When it goes if it is not used, seconds since 1970."""
        return self.used + self.ttl_seconds


class SessionStore:
    """Holds sessions.

    Args:
        max_sessions: at most so many.
        max_bytes: that all may take.
        evicted: called with the reason for each session that is evicted or expires.
        clock: gives the time, seconds since 1970.
    """

    def __init__(
        self, max_sessions: int, max_bytes: int, evicted: Callable[[Reason], None], clock: Callable[[], float]
    ) -> None:
        self.num_bytes = 0  # taken now
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._evicted = evicted
        self._clock = clock
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # the longest unused first
        self._gone: OrderedDict[str, tuple[str, str]] = OrderedDict()  # id -> code and sentence
        self._next_expiry = math.inf  # nothing expires before

    def all(self) -> list[Session]:
        """Every session, the last used first."""
        self._expire()
        return list(reversed(self._sessions.values()))

    def find(self, session_id: str) -> Session:
        """The session of that id; this is no use. Raises SessionNotFoundError, which never names other sessions."""
        self._expire()
        if session_id in self._sessions:
            return self._sessions[session_id]
        default = "session_not_found", f"Session {shown(session_id)} not found. POST /v1/sessions makes one."
        code, sentence = self._gone.get(session_id, default)
        raise SessionNotFoundError(sentence, param="session", code=code)

    def add(self, session_id: str, model: str, point: Point, ttl_seconds: float, used: float | None = None) -> Session:
        """Keep a session, see Session; one of that id is replaced. Others may go to make room.

        Raises:
            SessionBusyError: the one of that id is being used.
            OverloadedError: there is no room, because requests are using the others.
        """
        self._expire()
        old = self._sessions.get(session_id)
        if old is not None:
            _free(old)
        num_bytes = point.num_bytes
        busy = [item.point.num_bytes for item in self._sessions.values() if item.is_busy]
        if len(busy) >= self._max_sessions or sum(busy) + num_bytes > self._max_bytes:
            raise OverloadedError(
                f"No room for a session of {num_bytes} bytes: requests are using {len(busy)} of at most "
                f"{self._max_sessions} sessions and {self._max_bytes} bytes (RNNSERVE_MAX_SESSIONS, "
                "RNNSERVE_SESSION_BYTES). Try again in a moment.",
                code="sessions_full",
                headers={"retry-after": "1"},
            )
        if old is not None:
            self._drop(old)
        self._gone.pop(session_id, None)
        self._make_room(num_sessions=1, num_bytes=num_bytes)
        now = self._clock()
        session = Session(session_id, model, point, ttl_seconds, now if used is None else min(used, now))
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
        nothing else can.
        """
        assert session.is_busy
        session.is_busy = False
        if point is not None:
            self.num_bytes += point.num_bytes - session.point.num_bytes
            session.point = point
        self._touch(session)
        self._make_room()

    def remove(self, session_id: str) -> None:
        """Forget a session. Raises as `take`."""
        self._drop(_free(self.find(session_id)))

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
        session.used = self._clock()
        self._sessions.move_to_end(session.id)
        self._next_expiry = min(self._next_expiry, session.expires)

    def _make_room(self, num_sessions: int = 0, num_bytes: int = 0) -> None:
        """Let free sessions go, the longest unused first, until so much more fits."""
        idle = iter(self._idle())
        while True:
            is_over = len(self._sessions) + num_sessions > self._max_sessions
            if not is_over and self.num_bytes + num_bytes <= self._max_bytes:
                return
            session = next(idle, None)
            if session is None:
                return
            self._evict(session, "number" if is_over else "bytes")

    def _evict(self, session: Session, reason: Reason) -> None:
        self._drop(session)
        self._evicted(reason)
        if reason == "expired":
            code, why = "session_expired", f"has expired: it was not used for {session.ttl_seconds:g} s"
        else:
            budget = "MAX_SESSIONS" if reason == "number" else "SESSION_BYTES"
            code, why = "session_evicted", f"was dropped to make room for others (RNNSERVE_{budget})"
        self._gone[session.id] = code, f"Session {shown(session.id)} {why}. POST /v1/sessions makes a new one."
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
