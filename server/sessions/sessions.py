"""The sessions of one app: the store, the models that continue them, and the key that signs them.

Belongs to the event loop. Knows no HTTP. What a request does with a session counts only when it calls `finish`.
"""

import asyncio
import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from runtime.frames import Row
from server.endpoint import LoadedModel
from server.errors import ApiError, FieldError, SessionConflictError, SessionGoneError, UnavailableError, shown
from server.metrics import Metrics
from server.sessions.frames import frame_bytes, frames_from_row, row_from_frames
from server.sessions.point import Point
from server.sessions.sequences import SequenceUse
from server.sessions.state import FoundFile, SavedSession, SessionFolder, bytes_from_point, point_from_bytes
from server.sessions.store import REASONS, Session, SessionStore
from server.settings import MOST_TTL_SECONDS, Settings

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
            settings.max_sessions,
            settings.session_bytes,
            settings.max_deleted_sessions,
            lambda reason: evictions[reason].inc(),
            lambda: time.monotonic(),
            lambda: time.time(),
        )
        metrics.sessions.set_function(lambda: len(self.all()))
        metrics.session_bytes.set_function(lambda: self.num_bytes)
        self.num_lost = 0  # sessions that could not be written for the next process
        self._settings = settings
        self._kept: dict[str, tuple[Path, float]] = {}  # id -> file that cannot be continued; until when, by the clock
        self._removal: asyncio.TimerHandle | None = None  # of the next such file
        self._has_read_deleted = False
        self._is_closed = False  # written for the next process: they change no more
        self._models: dict[str, LoadedModel] = {}  # by id
        self._unloaded: dict[str, LoadedModel] = {}  # by id; of those with sessions, without their graphs
        self._key = None if settings.session_key is None else settings.session_key.get_secret_value().encode()
        self._folder: SessionFolder | None = None
        if settings.session_dir is not None and self._key is not None:
            self._folder = SessionFolder(settings.session_dir, self._key)

    def create(self, model: LoadedModel, ttl_seconds: float | None = None, client: str = "") -> Session:
        """A new session of a client, empty. Raises OverloadedError, and FieldError: the model's cannot be kept."""
        ttl = self._settings.session_ttl_seconds if ttl_seconds is None else ttl_seconds
        num_bytes = None if model.signature is None else frame_bytes(model.signature, model.id)
        return self.add(_new_id(), model.id, Point.beginning(model.state_width, num_bytes), ttl, client)

    @contextlib.contextmanager
    def reading_on(self, session_id: str, model: LoadedModel) -> Iterator[SequenceUse]:
        """Use a session of a model of frames, to which a call's frames are appended. Raises as `using`, and FieldError:
        it is another model's.
        """
        with self.using(session_id) as session:
            if session.model != model.id:
                raise FieldError(f"session: it belongs to {session.model}, not {model.id}.", param="session")
            signature, point = model.signature, session.point
            assert signature is not None, "a model of frames has one"

            def check(num_frames: int) -> None:
                self.check_length(len(point.tokens) + num_frames, point)

            def finish(state: NDArray[np.float32], row: Row) -> None:
                frames = np.concatenate([point.tokens, frames_from_row(signature, row)])
                self.finish(session, point.extended(frames, state))

            first = row_from_frames(signature, point.tokens[:1]) if len(point.tokens) else None
            yield SequenceUse(point.row, check, finish, first, len(point.tokens))

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

    def fork(self, session_id: str, client: str = "") -> Session:
        """A new session of a client where another stands, kept as long. Raises as `using`, or OverloadedError."""
        with self.using(session_id) as session:
            return self.add(_new_id(), session.model, session.point, session.ttl_seconds, client)

    def remove(self, session_id: str) -> None:
        """Delete a session, or the file of one that cannot be continued. Raises as `take`, or OSError."""
        if session_id in self._kept:
            _, until = self._kept[session_id]
            self._remove_file(session_id)
            self._delete(session_id, until)
        else:
            super().remove(session_id)

    def state(self, session_id: str) -> bytes:
        """A session as bytes that another server can continue. Raises as `using`, or SessionConflictError: no key."""
        with self.using(session_id) as session:
            return bytes_from_point(session.id, session.point, self._model_of(session), self._signing_key())

    def put_state(self, session_id: str, content: bytes, client: str = "") -> Session:
        """Make or replace a session of a client by what `state` gave, here or elsewhere.

        Raises:
            SessionStateError: the bytes are not right.
            SessionConflictError: no key, another session's state, another bundle, or another graph set.
            SessionGoneError: the session was deleted here.
            SessionBusyError: another request uses the session of that id.
            OverloadedError: there is no room.
        """
        model, point = self._read(session_id, content, self._signing_key())
        self.check_length(len(point.tokens), point)
        session = self.add(session_id, model.id, point, self._settings.session_ttl_seconds, client)
        if session_id in self._kept:  # an earlier state of it
            self._remove_file(session_id)
        return session

    def check_length(self, num_tokens: int, point: Point) -> None:
        """Raises FieldError, with both numbers, for a session at `point` that would have too many tokens to be kept."""
        most, found, setting = self._settings.max_session_tokens, num_tokens, "RNNSERVE_MAX_SESSION_TOKENS"
        unit, added, fewer = "tokens", "this prompt and answer it may", "max_tokens"
        if not point.num_pending:
            unit, added, fewer = "frames", "these frames it would", "frames"
        if found <= most:
            most, setting, unit = self._settings.session_bytes, "RNNSERVE_SESSION_BYTES", "bytes"
            found = point.num_bytes + (num_tokens - len(point.tokens)) * point.bytes_per_token
            found += 0 if num_tokens == len(point.tokens) else point.row.nbytes  # of a mark
        if found > most:
            raise FieldError(
                f"session: with {added} have {found} {unit}; at most {most} are allowed ({setting}). Ask for fewer "
                f"{fewer}, rewind it, or begin a new one.",
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
        await self._open_deleted(folder)
        found = await asyncio.to_thread(list, folder.read())
        if self._is_closed:  # meanwhile; the next process reads them
            return
        reasons: Counter[str] = Counter()
        num_read = num_removed = 0
        for file in sorted(found, key=lambda item: item.saved.used_at if item.saved else 0):
            try:
                reason = self._read_file(file, folder)
                if reason is None:
                    num_read += 1
                elif self._keep(file):
                    reasons[reason] += 1
                else:
                    num_removed += 1
            except OSError as error:
                log.warning("session file not removed", file=str(file.path), reason=str(error))
        for reason, number in reasons.items():
            log.warning("sessions kept in their files", sessions=number, reason=reason, until="they would have expired")
        if num_removed:
            log.warning("session files removed", files=num_removed, reason="neither continued nor expected any more")
        if num_read:
            log.info("sessions read", folder=str(folder.path), sessions=num_read)
        self._schedule_removal()

    def add_model(self, model: LoadedModel) -> None:
        """A model is loaded; sessions that it had before go on, unless it is another bundle or runs another set."""
        before = self._unloaded.pop(model.id, model)
        self._models[model.id] = model
        if (before.bundle_sha256, before.precision) == (model.bundle_sha256, model.precision):
            return
        dropped = [session for session in self._idle() if session.model == model.id]
        for session in dropped:
            self._drop(session)
            sentence = f"Session {shown(session.id)} was of {model.id} before it was loaded anew from other graphs."
            self._remember(session.id, "session_not_loaded", sentence)
        if dropped:
            log.warning("sessions dropped", sessions=len(dropped), model=model.id, reason="loaded from other graphs")

    def remove_model(self, model: LoadedModel) -> None:
        """A model is unloaded; its sessions are kept."""
        known = self._models.pop(model.id, None)
        if known is not None and any(session.model == model.id for session in self.all()):
            self._unloaded[model.id] = known.without_graphs

    def _model_of(self, session: Session) -> LoadedModel:
        return self._models.get(session.model) or self._unloaded[session.model]

    async def _open_deleted(self, folder: SessionFolder) -> None:
        try:
            deleted = await asyncio.to_thread(folder.read_deleted)
        except (ApiError, OSError, ValueError) as error:
            log.warning("deleted sessions not read", folder=str(folder.path), reason=str(error))
            deleted = {}
        self._has_read_deleted = True
        ahead = self._clock() - self._wall_clock()
        for session_id, until in deleted.items():
            self._delete(session_id, until + ahead)

    def _read_file(self, file: FoundFile, folder: SessionFolder) -> str | None:
        """Take up a session and remove its file; else why it cannot be continued. Raises OSError: not removed."""
        saved = file.saved
        if saved is None:
            return file.reason
        try:
            model, point = self._read(saved.id, saved.state, folder.key)
            idle_seconds = max(0.0, self._wall_clock() - saved.used_at)
            self.add(saved.id, model.id, point, saved.ttl_seconds, saved.client, idle_seconds)
        except SessionGoneError:
            pass  # deleted since it was written
        except ApiError as error:
            return f"Model {saved.model}: {error.message}"
        file.path.unlink()
        return None

    def _keep(self, file: FoundFile) -> bool:
        """Keep a file until its session would have expired; if it has already, remove it and return False."""
        left = min(file.expires_at - self._wall_clock(), MOST_TTL_SECONDS)
        if left <= 0:
            file.path.unlink(missing_ok=True)
            return False
        session_id = file.path.stem
        self._kept[session_id] = file.path, self._clock() + left
        sentence = f"Session {shown(session_id)} is in a file that this server cannot continue; its log says why."
        self._remember(session_id, "session_not_loaded", sentence)
        return True

    def _schedule_removal(self) -> None:
        if self._kept:
            seconds = max(0.0, min(until for _, until in self._kept.values()) - self._clock())
            self._removal = asyncio.get_running_loop().call_later(seconds, self._remove_expired_files)

    def _remove_expired_files(self) -> None:
        now = self._clock()
        expired = [name for name, (_, until) in self._kept.items() if until <= now]
        for name in expired:
            try:
                self._remove_file(name)
            except OSError as error:
                log.error("session file not removed", reason=str(error))
        if expired:
            log.info("session files removed", files=len(expired), reason="their sessions would have expired")
        self._schedule_removal()

    def _remove_file(self, session_id: str) -> None:
        path, _ = self._kept.pop(session_id)
        path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Write the sessions for the next process; from now on they do not change. Again does nothing.

        `num_lost` is how many could not be written.
        """
        folder = self._folder
        if folder is None or self._is_closed:
            return
        for _ in range(100):  # a second at most: requests that have had their last word leave it in their sessions
            if not any(session.is_busy for session in self.all()):
                break
            await asyncio.sleep(0.01)
        self._is_closed = True
        if self._removal is not None:
            self._removal.cancel()
        sessions = self.all()
        self.num_lost = len(sessions)  # until they are written
        self.num_lost = await asyncio.to_thread(self._write, folder, sessions)
        log.info("sessions written", folder=str(folder.path), sessions=len(sessions) - self.num_lost)

    def _write(self, folder: SessionFolder, sessions: Sequence[Session]) -> int:
        """Write sessions, the last used first, and the ids of deleted ones; how many sessions were not written."""
        ahead = self._wall_clock() - self._clock()
        reasons: Counter[str] = Counter()
        for item in sessions:
            state = bytes_from_point(item.id, item.point, self._model_of(item), folder.key)
            saved = SavedSession(
                id=item.id,
                model=item.model,
                client=item.client,
                ttl_seconds=float(item.ttl_seconds),
                used_at=item.used + ahead,
                state=state,
            )
            try:
                folder.write(saved)
            except OSError as error:
                reasons[error.strerror or str(error)] += 1
        for reason, number in reasons.items():
            log.error("sessions lost", folder=str(folder.path), sessions=number, of=len(sessions), reason=reason)
        now = self._clock()
        try:
            if self._has_read_deleted:
                folder.write_deleted({name: until + ahead for name, until in self._deleted.items() if until > now})
        except OSError as error:
            log.error("deleted sessions not written", folder=str(folder.path), reason=str(error))
        return reasons.total()

    def _read(self, session_id: str, state: bytes, key: bytes) -> tuple[LoadedModel, Point]:
        models = list(self._models.values())
        return point_from_bytes(session_id, state, models, self._settings.max_session_tokens, key)

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
