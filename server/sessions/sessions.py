"""The sessions of one app: the store with a clock, the models that continue them, and the key that signs them.

Belongs to the event loop. Knows no HTTP. What a request does with a session counts only when it calls `finish`.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence

import structlog

from server.endpoint import Endpoint
from server.errors import ApiError, FieldError, SessionConflictError, UnavailableError
from server.metrics import Metrics
from server.sessions.files import SavedSession, SessionFolder
from server.sessions.point import Point
from server.sessions.state import Reader, bytes_from_point, point_from_bytes
from server.sessions.store import REASONS, Session, SessionStore
from server.settings import Settings

log = structlog.get_logger()


class SessionUse:
    """One request's use of a session: what it finds there, and what it leaves.

    Attributes:
        session: in use until `finish` or `end`.
    """

    def __init__(self, sessions: "Sessions", session: Session[Point]) -> None:
        self.session = session
        self._sessions = sessions

    @property
    def point(self) -> Point:
        """Where the session stands."""
        return self.session.held

    def check_room(self, num_tokens: int) -> None:
        """Refuse what would make the session too long.

        Args:
            num_tokens: that may be added.

        Raises:
            FieldError: there is no room for them.
        """
        self._sessions.check_length(len(self.point.tokens) + num_tokens, self.point)

    def finish(self, point: Point) -> None:
        """The request has succeeded: the session stands here now, and others may use it.

        Raises:
            UnavailableError: too late: sessions have been written for the next process.
        """
        if self._sessions.is_closed:
            raise UnavailableError("The server is shutting down; the session is as it was.", code="draining")
        self._sessions.store.put(self.session, point, point.num_bytes)
        self.end()

    def end(self) -> None:
        """Others may use the session, which is as it was unless the request has finished. Again does nothing."""
        if self.session.is_busy:
            self._sessions.store.give_back(self.session, time.time())


class Sessions:
    """All sessions of one app.

    Args:
        settings: budgets, key and folder.
        metrics: where they are counted.

    Attributes:
        store: holds them.
        is_closed: whether they have been written for the next process, and change no more.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        evictions = metrics.watch_sessions(self._count, lambda: self.store.num_bytes, REASONS)
        self.store: SessionStore[Point] = SessionStore(
            settings.max_sessions, settings.session_bytes, lambda reason: evictions[reason].inc()
        )
        self.is_closed = False
        self._settings = settings
        self._readers: dict[str, Reader] = {}  # by model id
        self._key = None if settings.session_key is None else settings.session_key.get_secret_value().encode()
        self._folder: SessionFolder | None = None
        if settings.session_dir is not None and self._key is not None:
            self._folder = SessionFolder(settings.session_dir, self._key)

    def create(self, endpoint: Endpoint, ttl_seconds: float | None = None) -> Session[Point]:
        """A new session, empty. Raises OverloadedError."""
        return self._add(_new_id(), endpoint.id, Point.beginning(endpoint.info.state_width), ttl_seconds)

    def all(self) -> list[Session[Point]]:
        """Every session, the last used first."""
        return self.store.sessions(time.time())[::-1]

    def find(self, session_id: str) -> Session[Point]:
        """The session of that id. Raises SessionNotFoundError."""
        return self.store.find(session_id, time.time())

    @contextlib.contextmanager
    def using(self, session_id: str) -> Iterator[SessionUse]:
        """Use a session; leaving the block without `finish` leaves it as it was.

        Raises:
            SessionNotFoundError: there is none of that id.
            SessionBusyError: another request uses it.
        """
        use = SessionUse(self, self.store.take(session_id, time.time()))
        try:
            yield use
        finally:
            use.end()

    def fork(self, session_id: str) -> Session[Point]:
        """A new session where another stands, kept as long. Raises as `using`, or OverloadedError."""
        with self.using(session_id) as use:
            session = use.session
            return self._add(_new_id(), session.model, session.held, session.ttl_seconds)

    def delete(self, session_id: str) -> None:
        """Forget a session. Raises as `using`."""
        self.store.remove(session_id, time.time())

    def state(self, session_id: str) -> bytes:
        """A session as bytes that another server can continue. Raises as `using`, or SessionConflictError: no key."""
        with self.using(session_id) as use:
            return bytes_from_point(use.point, self._readers[use.session.model], self._signing_key())

    def put_state(self, session_id: str, content: bytes) -> Session[Point]:
        """Make or replace a session by what `state` gave, here or elsewhere.

        Raises:
            SessionStateError: the bytes are not right.
            SessionConflictError: no key, another bundle, or another graph set.
            SessionBusyError: another request uses the session of that id.
            OverloadedError: there is no room.
        """
        reader, point = point_from_bytes(content, list(self._readers.values()), self._signing_key())
        self.check_length(len(point.tokens), point)
        return self._add(session_id, reader.model, point, None)

    def check_length(self, num_tokens: int, point: Point) -> None:
        """Refuse a session that is too long to be kept.

        Args:
            num_tokens: that it would have.
            point: of the same width.

        Raises:
            FieldError: with both numbers.
        """
        most, found, setting = self._settings.max_session_tokens, num_tokens, "RNNSERVE_MAX_SESSION_TOKENS"
        unit = "tokens"
        if found <= most:
            most, setting, unit = self._settings.session_bytes, "RNNSERVE_SESSION_BYTES", "bytes"
            found = point.num_bytes + (num_tokens - len(point.tokens)) * point.tokens.itemsize
            found += 0 if num_tokens == len(point.tokens) else point.row.nbytes  # of a mark
        if found > most:
            raise FieldError(
                f"session: with this prompt and answer it may have {found} {unit}; at most {most} are allowed "
                f"({setting}). Ask for fewer max_tokens, rewind it, or begin a new one.",
                param="session",
                code="session_too_long",
            )

    async def open(self, models: Sequence[Endpoint]) -> None:
        """Take up the models, and the sessions that the last process wrote.

        Raises:
            OSError: the folder cannot be used.
        """
        self._readers = {endpoint.id: self._reader_of(endpoint) for endpoint in models}
        folder = self._folder
        if folder is None:
            return
        await asyncio.to_thread(folder.prepare)
        found = await asyncio.to_thread(list, folder.read())
        if self.is_closed:  # meanwhile; the next process reads them
            return
        for path, saved in sorted(found, key=lambda item: item[1].used):
            try:
                reader, point = point_from_bytes(saved.state, list(self._readers.values()), folder.key)
                self._add(saved.id, reader.model, point, saved.ttl_seconds, used=saved.used)
                path.unlink()
            except (ApiError, OSError) as error:
                log.warning("session not read", file=str(path), reason=str(error))
        if found:
            log.info("sessions read", folder=str(folder.path), sessions=len(self.all()))

    async def close(self) -> None:
        """Write the sessions for the next process; from now on they do not change. Again does nothing."""
        folder = self._folder
        if folder is None or self.is_closed:
            return
        await self._until_free()
        self.is_closed = True
        sessions = self.all()
        num_written = await asyncio.to_thread(self._write, folder, sessions)
        log.info("sessions written", folder=str(folder.path), sessions=num_written)

    def _write(self, folder: SessionFolder, sessions: Sequence[Session[Point]]) -> int:
        num_written = 0
        for session in sessions:
            state = bytes_from_point(session.held, self._readers[session.model], folder.key)
            saved = SavedSession(id=session.id, ttl_seconds=float(session.ttl_seconds), used=session.used, state=state)
            try:
                folder.write(saved)
                num_written += 1
            except OSError as error:
                log.error("session not written", session=session.id, reason=str(error))
        return num_written

    async def _until_free(self) -> None:
        """Let requests that have had their last word from the engine leave it in their sessions; a second at most."""
        for _ in range(100):
            if not any(session.is_busy for session in self.all()):
                return
            await asyncio.sleep(0.01)

    def _add(
        self, session_id: str, model: str, point: Point, ttl_seconds: float | None, used: float | None = None
    ) -> Session[Point]:
        now = time.time()
        ttl = self._settings.session_ttl_seconds if ttl_seconds is None else ttl_seconds
        last_used = now if used is None else min(used, now)
        return self.store.add(
            session_id, model, point, num_bytes=point.num_bytes, ttl_seconds=ttl, used=last_used, now=now
        )

    def _reader_of(self, endpoint: Endpoint) -> Reader:
        model = endpoint.info
        return Reader(
            model=endpoint.id,
            bundle=model.bundle_sha256,
            set=model.precision,
            state_width=model.state_width,
            vocab_size=model.tokenizer.vocab_size,
            max_tokens=self._settings.max_session_tokens,
        )

    def _signing_key(self) -> bytes:
        if self._key is None:
            raise SessionConflictError(
                "This server has no key to sign states of sessions with. Start it, and those that sessions are to move "
                "to, with RNNSERVE_SESSION_KEY set to one secret of at least 16 characters: openssl rand -hex 32",
                code="session_key_missing",
            )
        return self._key

    def _count(self) -> int:
        return len(self.all())


def _new_id() -> str:
    return f"session-{uuid.uuid4().hex}"
