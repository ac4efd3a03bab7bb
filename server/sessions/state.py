"""A session's state as bytes that travel between servers, and everything that may be wrong with such bytes.

    msgpack {"format": 1, "bundle", "set", "row", "tokens", "position"}, then HMAC-SHA256 (server.sessions.signing)

`row` is float32 [D] and `tokens` int32 [length], little-endian; `position` is the absolute position of the next token,
the length. Signed, not secret: who has the bytes can read the tokens, and so the text.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgpack
import numpy as np
from pydantic import Field, ValidationError

from models.config import FrozenModel
from server.errors import SessionConflictError, SessionStateError, shown
from server.sessions.point import Point
from server.sessions.signing import signed, verified

FORMAT = 1
_PURPOSE = "session state"


@dataclass(frozen=True, kw_only=True)
class Reader:
    """What a state must fit to be continued by a model.

    Attributes:
        model: its id, for messages.
        bundle: its bundle's sha256.
        set: the graph set that runs.
        state_width: D.
        vocab_size: V.
        max_tokens: longest session.
    """

    model: str
    bundle: str
    set: str
    state_width: int
    vocab_size: int
    max_tokens: int


class _State(FrozenModel):
    format: Literal[1]
    bundle: Annotated[str, Field(max_length=200)]
    set: Annotated[str, Field(max_length=200)]
    row: bytes
    tokens: bytes
    position: Annotated[int, Field(ge=0)]


def bytes_from_point(point: Point, reader: Reader, key: bytes) -> bytes:
    """The state as bytes.

    Args:
        point: where the session stands.
        reader: the model that it was made with.
        key: signs it.
    """
    state = {
        "format": FORMAT,
        "bundle": reader.bundle,
        "set": reader.set,
        "row": point.row.astype("<f4").tobytes(),
        "tokens": point.tokens.astype("<i4").tobytes(),
        "position": len(point.tokens),
    }
    return signed(msgpack.packb(state), key, _PURPOSE)


def point_from_bytes(content: bytes, readers: list[Reader], key: bytes) -> tuple[Reader, Point]:
    """The model that can continue a state, and where it stands.

    Args:
        content: what `bytes_from_point` gave, on this server or another.
        readers: the loaded models.
        key: it must have signed it.

    Raises:
        SessionStateError: it was changed, signed with another key, of an unknown format, or does not fit the model.
        SessionConflictError: it belongs to another bundle or another graph set.
    """
    state = _state_from(msgpack_map(verified(content, key, _PURPOSE)))
    reader = _reader_of(state, readers)
    row, tokens = np.frombuffer(state.row, np.uint8), np.frombuffer(state.tokens, np.uint8)
    if len(row) != 4 * reader.state_width:
        raise _wrong(f"row: {len(row)} bytes; {reader.model} has {reader.state_width} float32 numbers.")
    if len(tokens) != 4 * state.position:
        raise _wrong(f"tokens: {len(tokens)} bytes; position {state.position} means that there are 4 times as many.")
    if state.position > reader.max_tokens:
        raise _wrong(f"{state.position} tokens; at most {reader.max_tokens} are allowed (RNNSERVE_MAX_SESSION_TOKENS).")
    point = Point(tokens.view("<i4").astype(np.int32), row.view("<f4").astype(np.float32))
    if not np.isfinite(point.row).all():
        raise _wrong("row: holds numbers that are not finite.")
    if len(point.tokens) and not 0 <= point.tokens.min() <= point.tokens.max() < reader.vocab_size:
        raise _wrong(f"tokens: {reader.model} has the ids 0 to {reader.vocab_size - 1}; others are in it.")
    return reader, point


def msgpack_map(payload: bytes) -> dict[Any, Any]:
    """A map from msgpack.

    Raises:
        SessionStateError: it is something else.
    """
    try:
        content = msgpack.unpackb(payload)
    except (ValueError, msgpack.UnpackException) as error:  # ValueError: also text that is not UTF-8
        raise _wrong(f"it is signed, but not msgpack ({type(error).__name__}).") from None
    if not isinstance(content, dict):
        raise _wrong(f"it is signed, but holds a {type(content).__name__} instead of a map.")
    return content


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


def _reader_of(state: _State, readers: list[Reader]) -> Reader:
    of_bundle = [reader for reader in readers if reader.bundle == state.bundle]
    if not of_bundle:
        loaded = ", ".join(f"{reader.model} ({reader.bundle[:12]})" for reader in readers) or "none"
        raise SessionConflictError(
            f"The state belongs to another model: bundle {shown(state.bundle[:12])}. Loaded generation models: "
            f"{loaded}. Load that version, or begin a new session.",
            code="session_other_bundle",
        )
    for reader in of_bundle:
        if reader.set == state.set:
            return reader
    theirs = shown(state.set)[1:-1]
    raise SessionConflictError(
        f"The state was made with graph set {theirs}; {of_bundle[0].model} runs {of_bundle[0].set} here, and its "
        f"states are other numbers. Start the server with RNNSERVE_SET={theirs}.",
        code="session_other_set",
    )


def _wrong(sentence: str, code: str | None = None) -> SessionStateError:
    return SessionStateError(f"The state cannot be read: {sentence}", code=code)
