"""Sessions by id, within budgets of number, bytes and idle time. Pure: time is an argument; what a session holds is not
looked at.

When there is no room, those that were used longest ago go, never one that a request is using. Of those that have gone
their ids are remembered for a while, so that the answer can say why.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from server.errors import OverloadedError, SessionBusyError, SessionNotFoundError, shown

Reason = Literal["expired", "number", "bytes"]
REASONS: tuple[Reason, ...] = ("expired", "number", "bytes")
_MOST_GONE = 10_000  # ids remembered

Held = TypeVar("Held")


@dataclass(eq=False, slots=True)
class Session(Generic[Held]):
    """One session.

    Attributes:
        id: what requests call it.
        model: the id of the model that it belongs to.
        held: what it holds.
        num_bytes: what that takes.
        ttl_seconds: how long it is kept unused.
        used: when it was used last, seconds since 1970.
        is_busy: whether a request is using it; then only that request changes or removes it.
    """

    id: str
    model: str
    held: Held
    num_bytes: int
    ttl_seconds: float
    used: float
    is_busy: bool = False

    @property
    def expires(self) -> float:
        """When it goes if it is not used, seconds since 1970."""
        return self.used + self.ttl_seconds


class SessionStore(Generic[Held]):
    """Holds sessions. `now` is seconds since 1970 everywhere.

    Args:
        max_sessions: at most so many.
        max_bytes: that all may take; while requests use sessions their growth may take it above for a moment.
        evicted: called with the reason for each session that is evicted or expires.

    Attributes:
        num_bytes: taken now.
    """

    def __init__(self, max_sessions: int, max_bytes: int, evicted: Callable[[Reason], None] = lambda _: None) -> None:
        self.num_bytes = 0
        self._max_sessions = max_sessions
        self._max_bytes = max_bytes
        self._evicted = evicted
        self._sessions: OrderedDict[str, Session[Held]] = OrderedDict()  # the longest unused first
        self._gone: OrderedDict[str, tuple[str, str]] = OrderedDict()  # id -> code and sentence
        self._next_expiry = math.inf  # nothing expires before

    def __len__(self) -> int:
        return len(self._sessions)

    def sessions(self, now: float) -> list[Session[Held]]:
        """All of them, the longest unused first."""
        self.expire(now)
        return list(self._sessions.values())

    def expire(self, now: float) -> None:
        """Let those go that have not been used for their time."""
        if now < self._next_expiry:
            return
        for session in [item for item in self._idle() if item.expires <= now]:
            self._evict(session, "expired")
        self._next_expiry = min((item.expires for item in self._idle()), default=math.inf)

    def find(self, session_id: str, now: float) -> Session[Held]:
        """The session of that id; this is no use of it.

        Raises:
            SessionNotFoundError: there is none; the message says why. It never names other sessions.
        """
        self.expire(now)
        if session_id in self._sessions:
            return self._sessions[session_id]
        if session_id in self._gone:
            code, sentence = self._gone[session_id]
            raise SessionNotFoundError(sentence, param="session", code=code)
        raise SessionNotFoundError(
            f"Session {shown(session_id)} not found. POST /v1/sessions makes one.", param="session"
        )

    def add(
        self, session_id: str, model: str, held: Held, *, num_bytes: int, ttl_seconds: float, used: float, now: float
    ) -> Session[Held]:
        """Keep a session; one of that id is replaced. Others may go to make room.

        Raises:
            SessionBusyError: the one of that id is being used.
            OverloadedError: there is no room, because requests are using the others.
        """
        self.expire(now)
        old = self._sessions.get(session_id)
        if old is not None:
            _check_free(old)
        busy = [item for item in self._sessions.values() if item.is_busy]
        if len(busy) >= self._max_sessions or sum(item.num_bytes for item in busy) + num_bytes > self._max_bytes:
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
        session = Session(session_id, model, held, num_bytes, ttl_seconds, used)
        self._sessions[session_id] = session
        self.num_bytes += num_bytes
        self._next_expiry = min(self._next_expiry, session.expires)
        return session

    def take(self, session_id: str, now: float) -> Session[Held]:
        """Begin to use a session; end with `give_back`.

        Raises:
            SessionNotFoundError: as `find`.
            SessionBusyError: it is being used.
        """
        session = self.find(session_id, now)
        _check_free(session)
        session.is_busy = True
        self._touch(session, now)
        return session

    def put(self, session: Session[Held], held: Held, num_bytes: int) -> None:
        """Change what a session holds that is being used."""
        assert session.is_busy
        session.held = held
        self.num_bytes += num_bytes - session.num_bytes
        session.num_bytes = num_bytes

    def give_back(self, session: Session[Held], now: float) -> None:
        """End a use. Others may go if it has grown; it may go itself only if nothing else can."""
        session.is_busy = False
        self._touch(session, now)
        self._make_room()

    def remove(self, session_id: str, now: float) -> None:
        """Forget a session.

        Raises:
            SessionNotFoundError: as `find`.
            SessionBusyError: it is being used.
        """
        session = self.find(session_id, now)
        _check_free(session)
        self._drop(session)

    def _idle(self) -> list[Session[Held]]:
        return [item for item in self._sessions.values() if not item.is_busy]

    def _touch(self, session: Session[Held], now: float) -> None:
        session.used = now
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

    def _evict(self, session: Session[Held], reason: Reason) -> None:
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

    def _drop(self, session: Session[Held]) -> None:
        del self._sessions[session.id]
        self.num_bytes -= session.num_bytes


def _check_free(session: Session[Held]) -> None:
    if session.is_busy:
        raise SessionBusyError(
            f"Session {shown(session.id)} is being used by another request. Wait for its answer, or fork the session "
            "before both.",
            param="session",
        )
