"""The sessions of one app: the store, the models that continue them, and the key that signs them.

Belongs to the event loop. Knows no HTTP. What a request does with a session counts only when it calls `finish`.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence

import structlog

from server.endpoint import LoadedModel
from server.errors import ApiError, FieldError, SessionConflictError, UnavailableError
from server.metrics import Metrics
from server.sessions.point import Point
from server.sessions.state import SavedSession, SessionFolder, bytes_from_point, point_from_bytes
from server.sessions.store import REASONS, Session, SessionStore
from server.settings import Settings

log = structlog.get_logger()


class Sessions(SessionStore):
    """All sessions of one app.

    Args:
        settings: budgets, key and folder.
        metrics: where they are counted.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        evictions = {reason: metrics.session_evictions.labels(reason) for reason in REASONS}
        super().__init__(
            settings.max_sessions, settings.session_bytes, lambda reason: evictions[reason].inc(), time.time
        )
        metrics.sessions.set_function(lambda: len(self.all()))
        metrics.session_bytes.set_function(lambda: self.num_bytes)
        self._settings = settings
        self._is_closed = False  # written for the next process: they change no more
        self._models: dict[str, LoadedModel] = {}  # by id
        self._key = None if settings.session_key is None else settings.session_key.get_secret_value().encode()
        self._folder: SessionFolder | None = None
        if settings.session_dir is not None and self._key is not None:
            self._folder = SessionFolder(settings.session_dir, self._key)

    def create(self, model: LoadedModel, ttl_seconds: float | None = None) -> Session:
        """A new session, empty. Raises OverloadedError."""
        ttl = self._settings.session_ttl_seconds if ttl_seconds is None else ttl_seconds
        return self.add(_new_id(), model.id, Point.beginning(model.state_width), ttl)

    @contextlib.contextmanager
    def using(self, session_id: str) -> Iterator[Session]:
        """Use a session; leaving the block without `finish` leaves it as it was. Raises as `take`."""
        session = self.take(session_id)
        number = session.num_uses
        try:
            yield session
        finally:
            if session.is_busy and session.num_uses == number:  # not finished
                self.give_back(session)

    def finish(self, session: Session, point: Point) -> None:
        """The request that uses a session has succeeded: the session stands here now, and others may use it.

        Raises UnavailableError where sessions have been written for the next process.
        """
        if self._is_closed:
            raise UnavailableError("The server is shutting down; the session is as it was.", code="draining")
        self.give_back(session, point)

    def fork(self, session_id: str) -> Session:
        """A new session where another stands, kept as long. Raises as `using`, or OverloadedError."""
        with self.using(session_id) as session:
            return self.add(_new_id(), session.model, session.point, session.ttl_seconds)

    def state(self, session_id: str) -> bytes:
        """A session as bytes that another server can continue. Raises as `using`, or SessionConflictError: no key."""
        with self.using(session_id) as session:
            return bytes_from_point(session.point, self._models[session.model], self._signing_key())

    def put_state(self, session_id: str, content: bytes) -> Session:
        """Make or replace a session by what `state` gave, here or elsewhere.

        Raises:
            SessionStateError: the bytes are not right.
            SessionConflictError: no key, another bundle, or another graph set.
            SessionBusyError: another request uses the session of that id.
            OverloadedError: there is no room.
        """
        model, point = self._read(content, self._signing_key())
        self.check_length(len(point.tokens), point)
        return self.add(session_id, model.id, point, self._settings.session_ttl_seconds)

    def check_length(self, num_tokens: int, point: Point) -> None:
        """Raises FieldError, with both numbers, for a session at `point` that would have too many tokens to be kept."""
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

    async def open(self, models: Sequence[LoadedModel]) -> None:
        """Take up the models, and the sessions that the last process wrote. Raises OSError for the folder."""
        self._models = {model.id: model for model in models}
        folder = self._folder
        if folder is None:
            return
        await asyncio.to_thread(folder.prepare)
        found = await asyncio.to_thread(list, folder.read())
        if self._is_closed:  # meanwhile; the next process reads them
            return
        for path, saved in sorted(found, key=lambda item: item[1].used):
            try:
                model, point = self._read(saved.state, folder.key)
                self.add(saved.id, model.id, point, saved.ttl_seconds, saved.used)
                path.unlink()
            except (ApiError, OSError) as error:
                log.warning("session not read", file=str(path), reason=str(error))
        if found:
            log.info("sessions read", folder=str(folder.path), sessions=len(self.all()))

    async def close(self) -> None:
        """Write the sessions for the next process; from now on they do not change. Again does nothing."""
        folder = self._folder
        if folder is None or self._is_closed:
            return
        for _ in range(100):  # a second at most: requests that have had their last word leave it in their sessions
            if not any(session.is_busy for session in self.all()):
                break
            await asyncio.sleep(0.01)
        self._is_closed = True
        num_written = await asyncio.to_thread(self._write, folder, self.all())
        log.info("sessions written", folder=str(folder.path), sessions=num_written)

    def _write(self, folder: SessionFolder, sessions: Sequence[Session]) -> int:
        num_written = 0
        for item in sessions:
            state = bytes_from_point(item.point, self._models[item.model], folder.key)
            try:
                folder.write(SavedSession(id=item.id, ttl_seconds=float(item.ttl_seconds), used=item.used, state=state))
                num_written += 1
            except OSError as error:
                log.error("session not written", session=item.id, reason=str(error))
        return num_written

    def _read(self, state: bytes, key: bytes) -> tuple[LoadedModel, Point]:
        return point_from_bytes(state, list(self._models.values()), self._settings.max_session_tokens, key)

    def _signing_key(self) -> bytes:
        if self._key is None:
            raise SessionConflictError(
                "This server has no key to sign states of sessions with. Start it, and those that sessions are to move "
                "to, with RNNSERVE_SESSION_KEY set to one secret of at least 16 characters: openssl rand -hex 32",
                code="session_key_missing",
            )
        return self._key


def _new_id() -> str:
    return f"session-{uuid.uuid4().hex}"
