"""A session as bytes: its state, which travels between servers, and its file, <id>.session, from one server process to
the next; and everything that may be wrong with such bytes.

    msgpack {"format": 2, "id", "bundle", "set", "row", "tokens", "position"}, then its HMAC-SHA256 (RFC 2104)

`id` is the session's: under another one the state is refused, so that nobody's session is replaced by a stranger's.
`row` is float32 [D] and `tokens` int32 [length], or the bytes of frames (server.sessions.frames), little-endian;
`position` is the absolute position of the next token, the length. Signed, not secret: only a holder of the key can have
made the bytes, and who has them can read the tokens, and so the text.

A file is read once: what was read lives in the server from then on, and is written again at its end. So no session is
taken up by two servers, and none that was changed or removed since comes back. One that cannot be continued stays until
its session would have expired, which is its time of modification: without the key nothing in it is believed.
"""

import hmac
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgpack
import numpy as np
from pydantic import Field, ValidationError

from models.config import FrozenModel
from models.digest import write_durably
from server.endpoint import LoadedModel
from server.errors import ApiError, SessionConflictError, SessionStateError, shown
from server.sessions.frames import are_allowed, frame_bytes
from server.sessions.point import Point

FORMAT: Literal[2] = 2
SUFFIX = ".session"
DELETED = "deleted.ids"  # file of the ids that are not to come back
_WRITING = ".writing-"  # what files are called until they are whole
_ABANDONED_SECONDS = 3600.0  # after which such a file is taken for one that a killed process has left
ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"  # safe in a path of a URL and as a file name
_STATE, _FILE, _IDS = "session state", "session file", "deleted sessions"  # what bytes are signed as
_CODE_BYTES = 32


def signed(payload: bytes, key: bytes, purpose: str) -> bytes:
    """A payload and its code; signed for one purpose, it is refused for another."""
    return payload + hmac.digest(key, purpose.encode() + b"\0" + payload, "sha256")


def signed_map(content: bytes, key: bytes, purpose: str) -> dict[Any, Any]:
    """The map of what `signed` gave for msgpack. Nothing of it is looked at before its code is found right.

    Raises:
        SessionStateError: it was changed, or signed with another key or for another purpose; or it is no map.
    """
    payload = content[:-_CODE_BYTES]
    if not hmac.compare_digest(content, signed(payload, key, purpose)):
        raise SessionStateError(
            f"The {len(content)} bytes are not a {purpose} signed with this server's key: they were changed on the "
            "way, or another RNNSERVE_SESSION_KEY signed them, which looks the same. Send them as they were "
            "given, to a server with the same key.",
            code="session_signature_wrong",
        )
    try:
        found = msgpack.unpackb(payload)
    except (ValueError, msgpack.UnpackException) as error:  # ValueError: also text that is not UTF-8
        raise _wrong(f"it is signed, but not msgpack ({type(error).__name__}).") from None
    if not isinstance(found, dict):
        raise _wrong(f"it is signed, but holds a {type(found).__name__} instead of a map.")
    return found


class _State(FrozenModel):
    format: Literal[2] = FORMAT
    id: Annotated[str, Field(max_length=64)]
    bundle: Annotated[str, Field(max_length=200)]
    set: Annotated[str, Field(max_length=200)]
    row: bytes
    tokens: bytes
    position: Annotated[int, Field(ge=0)]


def bytes_from_point(session_id: str, point: Point, model: LoadedModel, key: bytes) -> bytes:
    """The state of a session that stands at `point` and was made with `model`, signed."""
    state = _State(
        id=session_id,
        bundle=model.bundle_sha256,
        set=model.precision,
        row=point.row.astype("<f4").tobytes(),
        tokens=point.tokens.tobytes() if model.signature is not None else point.tokens.astype("<i4").tobytes(),
        position=len(point.tokens),
    )
    return signed(msgpack.packb(state.model_dump()), key, _STATE)


def point_from_bytes(
    session_id: str, content: bytes, models: list[LoadedModel], max_tokens: int, key: bytes
) -> tuple[LoadedModel, Point]:
    """The loaded model that can continue what `bytes_from_point` gave, on this server or another, and where it stands.

    Raises:
        SessionStateError: it was changed, signed with another key, of an unknown format, or does not fit the model.
        SessionConflictError: it belongs to another session, another bundle or another graph set.
    """
    state = _state_from(signed_map(content, key, _STATE))
    if state.id != session_id:
        raise SessionConflictError(
            f"The state belongs to another session than {shown(session_id)}. PUT it under the id that it was taken "
            "from; to go on in several ways, fork that session.",
            code="session_other_id",
        )
    model = _model_of(state, models)
    if len(state.row) != 4 * model.state_width:
        raise _wrong(f"row: {len(state.row)} bytes; {model.id} has {model.state_width} float32 numbers.")
    size, position = len(state.tokens), state.position
    each = 4 if model.signature is None else frame_bytes(model.signature, model.id)
    if size != each * position:
        raise _wrong(f"tokens: {size} bytes; position {position} means that there are {each} times as many.")
    if position > max_tokens:
        raise _wrong(f"{position} tokens; at most {max_tokens} are allowed (RNNSERVE_MAX_SESSION_TOKENS).")
    row = np.frombuffer(state.row, "<f4")
    if not np.isfinite(row).all():
        raise _wrong("row: holds numbers that are not finite.")
    if model.signature is not None:
        frames = np.frombuffer(state.tokens, np.uint8).reshape(position, each)
        if not are_allowed(model.signature, frames):
            raise _wrong(f"tokens: frames hold numbers that {model.id} does not take.")
        return model, Point(frames.copy(), row.astype(np.float32), num_pending=0)
    tokens = np.frombuffer(state.tokens, "<i4")
    vocab_size = model.tokenizer.vocab_size
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < vocab_size:
        raise _wrong(f"tokens: {model.id} has the ids 0 to {vocab_size - 1}; others are in it.")
    return model, Point(tokens.astype(np.int32), row.astype(np.float32))


def _state_from(content: dict[Any, Any]) -> _State:
    if content.get("format") != FORMAT:
        raise _wrong(
            f"format {shown(content.get('format'))} is not known: this version of rnnserve reads format {FORMAT}. "
            "Move it between servers of one version.",
            code="session_format_unknown",
        )
    try:
        return _State.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _wrong(f"{shown('.'.join(map(str, first['loc'])))}: {first['msg']}.") from None


def _model_of(state: _State, models: list[LoadedModel]) -> LoadedModel:
    of_bundle = [model for model in models if model.bundle_sha256 == state.bundle]
    if not of_bundle:
        loaded = ", ".join(f"{model.id} ({model.bundle_sha256[:12]})" for model in models) or "none"
        raise SessionConflictError(
            f"The state belongs to another model: bundle {shown(state.bundle[:12])}. Loaded models with sessions: "
            f"{loaded}. Load that version (RNNSERVE_MODELS takes name/version), or begin a new session.",
            code="session_other_bundle",
        )
    for model in of_bundle:
        if model.precision == state.set:
            return model
    theirs = shown(state.set)[1:-1]
    raise SessionConflictError(
        f"The state was made with graph set {theirs}; {of_bundle[0].id} runs {of_bundle[0].precision} here, and its "
        f"states are other numbers. Start the server with RNNSERVE_SET={theirs}.",
        code="session_other_set",
    )


def _wrong(sentence: str, code: str | None = None) -> SessionStateError:
    return SessionStateError(f"The state cannot be read: {sentence}", code=code)


class SavedSession(FrozenModel):
    """A session as a file holds it; see Session."""

    id: Annotated[str, Field(pattern=ID_PATTERN)]
    model: str  # name/version
    client: str
    ttl_seconds: Annotated[float, Field(gt=0)]
    used_at: float  # seconds since 1970
    state: bytes  # as server.sessions.state


@dataclass(frozen=True)
class FoundFile:
    """A file of a session."""

    path: Path
    expires_at: float  # seconds since 1970
    saved: SavedSession | None  # its contents; None where they cannot be read
    reason: str = ""  # why not


@dataclass(frozen=True)
class SessionFolder:
    """Where sessions wait for the next process."""

    path: Path
    key: bytes  # signs the files

    def prepare(self) -> None:
        """Make the folder, for its owner alone, see that it can be written to, and remove what a killed process has
        left half written. Raises OSError.
        """
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.path):
            pass
        for path in self.path.glob(f"{_WRITING}*"):
            if path.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                path.unlink(missing_ok=True)

    def write(self, saved: SavedSession) -> None:
        """Write one, whole or not at all, readable by its owner alone. Raises OSError."""
        self._write(f"{saved.id}{SUFFIX}", saved.model_dump(), _FILE, saved.used_at + saved.ttl_seconds)

    def read(self) -> Iterator[FoundFile]:
        """All files of sessions. Raises OSError for the folder."""
        for path in sorted(self.path.glob(f"*{SUFFIX}")):
            expires_at, saved, reason = 0.0, None, ""
            try:
                expires_at = path.stat().st_mtime
                saved = SavedSession.model_validate(self._map(path, _FILE))
            except (ApiError, OSError) as error:
                reason = str(error)
            except ValidationError as error:
                reason = "; ".join(item["msg"] for item in error.errors(include_url=False, include_input=False))
            yield FoundFile(path, expires_at, saved, reason)

    def write_deleted(self, ids: Mapping[str, float]) -> None:
        """Write until when, in seconds since 1970, deleted ids are not to come back. Raises OSError."""
        if ids:
            self._write(DELETED, {"ids": dict(ids)}, _IDS)
        else:
            (self.path / DELETED).unlink(missing_ok=True)

    def read_deleted(self) -> dict[str, float]:
        """What `write_deleted` wrote, if it did. Raises OSError, and SessionStateError: it was not signed so."""
        path = self.path / DELETED
        if not path.exists():
            return {}
        ids = self._map(path, _IDS).get("ids", {})
        return {str(name): float(until) for name, until in ids.items()}

    def _map(self, path: Path, purpose: str) -> dict[Any, Any]:
        content = signed_map(path.read_bytes(), self.key, purpose)
        content.pop("format", None)  # that of the state inside is looked at
        return content

    def _write(self, name: str, fields: Mapping[str, Any], purpose: str, modified_at: float | None = None) -> None:
        content = signed(msgpack.packb({"format": FORMAT, **fields}), self.key, purpose)
        descriptor, writing = tempfile.mkstemp(prefix=_WRITING, dir=self.path)
        os.close(descriptor)
        try:
            write_durably(Path(writing), content)
            if modified_at is not None:
                os.utime(writing, (modified_at, modified_at))
            Path(writing).rename(self.path / name)
        except BaseException:
            Path(writing).unlink(missing_ok=True)
            raise
