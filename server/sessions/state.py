"""A session as bytes: its state, which travels between servers, and its file, <id>.session, from one server process to
the next; and everything that may be wrong with such bytes.

    msgpack {"format": 1, "bundle", "set", "row", "tokens", "position"}, then its HMAC-SHA256 (RFC 2104)

`row` is float32 [D] and `tokens` int32 [length], little-endian; `position` is the absolute position of the next token,
the length. Signed, not secret: only a holder of the key can have made the bytes, and who has them can read the tokens,
and so the text.

A file is read once: what was read lives in the server from then on, and is written again at its end. So no session is
taken up by two servers, and none that was changed or removed since comes back.
"""

import hmac
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgpack
import numpy as np
import structlog
from pydantic import Field, ValidationError

from models.config import FrozenModel
from models.digest import write_durably
from server.endpoint import LoadedModel
from server.errors import ApiError, SessionConflictError, SessionStateError, shown
from server.sessions.point import Point

log = structlog.get_logger()

FORMAT: Literal[1] = 1
SUFFIX = ".session"
ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"  # safe in a path of a URL and as a file name
_STATE, _FILE = "session state", "session file"  # what bytes are signed as
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
    format: Literal[1] = FORMAT
    bundle: Annotated[str, Field(max_length=200)]
    set: Annotated[str, Field(max_length=200)]
    row: bytes
    tokens: bytes
    position: Annotated[int, Field(ge=0)]


def bytes_from_point(point: Point, model: LoadedModel, key: bytes) -> bytes:
    """The state of a session that stands at `point` and was made with `model`, signed."""
    state = _State(
        bundle=model.bundle_sha256,
        set=model.precision,
        row=point.row.astype("<f4").tobytes(),
        tokens=point.tokens.astype("<i4").tobytes(),
        position=len(point.tokens),
    )
    return signed(msgpack.packb(state.model_dump()), key, _STATE)


def point_from_bytes(
    content: bytes, models: list[LoadedModel], max_tokens: int, key: bytes
) -> tuple[LoadedModel, Point]:
    """The loaded model that can continue what `bytes_from_point` gave, on this server or another, and where it stands.

    Raises:
        SessionStateError: it was changed, signed with another key, of an unknown format, or does not fit the model.
        SessionConflictError: it belongs to another bundle or another graph set.
    """
    state = _state_from(signed_map(content, key, _STATE))
    model = _model_of(state, models)
    if len(state.row) != 4 * model.state_width:
        raise _wrong(f"row: {len(state.row)} bytes; {model.id} has {model.state_width} float32 numbers.")
    size, position = len(state.tokens), state.position
    if size != 4 * position:
        raise _wrong(f"tokens: {size} bytes; position {position} means that there are 4 times as many.")
    if position > max_tokens:
        raise _wrong(f"{position} tokens; at most {max_tokens} are allowed (RNNSERVE_MAX_SESSION_TOKENS).")
    tokens, row = np.frombuffer(state.tokens, "<i4"), np.frombuffer(state.row, "<f4")
    if not np.isfinite(row).all():
        raise _wrong("row: holds numbers that are not finite.")
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
            f"The state belongs to another model: bundle {shown(state.bundle[:12])}. Loaded generation models: "
            f"{loaded}. Load that version, or begin a new session.",
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
    ttl_seconds: Annotated[float, Field(gt=0)]
    used: float
    state: bytes  # as server.sessions.state


@dataclass(frozen=True)
class SessionFolder:
    """Where sessions wait for the next process."""

    path: Path
    key: bytes  # signs the files

    def prepare(self) -> None:
        """Make the folder, for its owner alone, and see that it can be written to. Raises OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.path):
            pass

    def write(self, saved: SavedSession) -> None:
        """Write one, whole or not at all, readable by its owner alone. Raises OSError."""
        content = signed(msgpack.packb({"format": FORMAT, **saved.model_dump()}), self.key, _FILE)
        descriptor, name = tempfile.mkstemp(dir=self.path)
        os.close(descriptor)
        try:
            write_durably(Path(name), content)
            Path(name).rename(self.path / f"{saved.id}{SUFFIX}")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def read(self) -> Iterator[tuple[Path, SavedSession]]:
        """All that can be read, with their files; of the others the log says why. Raises OSError for the folder."""
        for path in sorted(self.path.glob(f"*{SUFFIX}")):
            try:
                content = signed_map(path.read_bytes(), self.key, _FILE)
                content.pop("format", None)  # that of the state inside is looked at
                yield path, SavedSession.model_validate(content)
            except (ApiError, OSError) as error:
                log.warning("session not read", file=str(path), reason=str(error))
            except ValidationError as error:
                reason = "; ".join(item["msg"] for item in error.errors(include_url=False, include_input=False))
                log.warning("session not read", file=str(path), reason=reason)
