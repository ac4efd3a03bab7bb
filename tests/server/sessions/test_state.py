"""A session's state as bytes: what comes back, and what is refused with its reason."""

from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.endpoint import LoadedModel
from server.errors import SessionConflictError, SessionStateError
from server.sessions.point import Point
from server.sessions.state import bytes_from_point, point_from_bytes, signed
from tests.server.running import fake_model

KEY = b"a secret of ours"
MODEL = replace(fake_model("lm", 2), bundle_sha256="ab" * 32, state_width=4)
LAST = MODEL.tokenizer.vocab_size - 1
MAX_TOKENS = 100
POINT = Point(np.array([3, 0, LAST], np.int32), np.array([0.5, -1e-30, 3e38, -0.0], np.float32))
ID = "session-1"
CONTENT = bytes_from_point(ID, POINT, MODEL, KEY)


def state(**changes: Any) -> bytes:
    """A state that is signed, with fields changed; None leaves one out."""
    fields = msgpack.unpackb(CONTENT[:-32]) | changes
    payload = {name: value for name, value in fields.items() if value is not None}
    return signed(msgpack.packb(payload), KEY, "session state")


def refusal(content: bytes, *models: LoadedModel, key: bytes = KEY) -> str:
    with pytest.raises(SessionStateError) as caught:
        point_from_bytes(ID, content, list(models) or [MODEL], MAX_TOKENS, key)
    assert caught.value.status == 422
    return caught.value.message


def test_it_comes_back_bit_by_bit() -> None:
    other = replace(MODEL, name="other", bundle_sha256="cd" * 32)
    model, point = point_from_bytes(ID, CONTENT, [other, MODEL], MAX_TOKENS, KEY)
    assert model is MODEL
    assert point.tokens.tobytes() == POINT.tokens.tobytes()
    assert point.row.tobytes() == POINT.row.tobytes()
    assert [str(array.dtype) for array in (point.tokens, point.row)] == ["int32", "float32"]
    empty = bytes_from_point(ID, Point.beginning(4), MODEL, KEY)
    assert point_from_bytes(ID, empty, [MODEL], MAX_TOKENS, KEY)[1].num_read == 0


def test_every_flipped_bit_and_every_cut_is_refused_before_anything_is_parsed() -> None:
    for i in range(len(CONTENT)):
        for bit in range(8):
            changed = bytearray(CONTENT)
            changed[i] ^= 1 << bit
            assert "changed on the way, or another RNNSERVE_SESSION_KEY" in refusal(bytes(changed))
        assert "which looks the same" in refusal(CONTENT[:i])
    assert "changed on the way" in refusal(CONTENT + b"\0")


def test_another_key_or_another_purpose_is_refused() -> None:
    assert "another RNNSERVE_SESSION_KEY" in refusal(CONTENT, key=b"another secret!!")
    assert "not a session state" in refusal(signed(CONTENT[:-32], KEY, "session file"))


def test_the_state_of_another_session_is_a_conflict_that_does_not_name_it() -> None:
    with pytest.raises(SessionConflictError, match=r"another session than 'session-2'.*fork") as caught:
        point_from_bytes("session-2", CONTENT, [MODEL], MAX_TOKENS, KEY)
    assert (caught.value.status, caught.value.code) == (409, "session_other_id")
    assert ID not in caught.value.message
    for changes in ({"id": None}, {"id": 5}, {"id": "x" * 65}):
        assert "'id'" in refusal(state(**changes))


def test_another_bundle_and_another_set_are_conflicts_that_name_both() -> None:
    with pytest.raises(SessionConflictError, match=r"bundle 'abababababab'.*lm/3 \(cdcdcdcdcdcd\)") as caught:
        point_from_bytes(ID, CONTENT, [replace(MODEL, version=3, bundle_sha256="cd" * 32)], MAX_TOKENS, KEY)
    assert (caught.value.status, caught.value.code) == (409, "session_other_bundle")
    with pytest.raises(SessionConflictError, match=r"graph set fp32; lm/2 runs int8 .*RNNSERVE_SET=fp32") as caught:
        point_from_bytes(ID, CONTENT, [replace(MODEL, precision="int8")], MAX_TOKENS, KEY)
    assert (caught.value.status, caught.value.code) == (409, "session_other_set")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 1}, "format 1 is not known: this version of rnnserve reads format 2"),
        ({"format": None}, "format null is not known"),
        ({"format": [{}] * 500}, "is not known"),
        ({"row": POINT.row.tobytes() + b"\0" * 4}, "row: 20 bytes; lm/2 has 4 float32 numbers"),
        ({"row": POINT.row.tobytes()[:-1]}, "row: 15 bytes"),
        ({"row": np.array([0, 0, np.nan, 0], "<f4").tobytes()}, "not finite"),
        ({"row": np.array([0, 0, np.inf, 0], "<f4").tobytes()}, "not finite"),
        ({"row": [0.0] * 4}, "'row': Input should be a valid bytes"),
        ({"row": None}, "'row': Field required"),
        ({"tokens": np.array([0, LAST + 1, 0], "<i4").tobytes()}, f"lm/2 has the ids 0 to {LAST}"),
        ({"tokens": np.array([0, -1, 0], "<i4").tobytes()}, f"lm/2 has the ids 0 to {LAST}"),
        ({"tokens": b"\0" * 11}, "tokens: 11 bytes; position 3"),
        ({"position": 2}, "tokens: 12 bytes; position 2"),
        ({"position": -1}, "'position': Input should be greater than or equal to 0"),
        ({"position": True}, "'position': Input should be a valid integer"),
        ({"position": 101, "tokens": b"\0" * 404}, "101 tokens; at most 100 are allowed (RNNSERVE_MAX_SESSION_TOKENS)"),
        ({"more": 1}, "'more': Extra inputs are not permitted"),
        ({"set": 5}, "'set': Input should be a valid string"),
    ],
)
def test_what_is_signed_but_wrong_is_refused_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    assert reason in refusal(state(**changes))


@given(st.binary(max_size=60))
def test_signed_bytes_that_are_no_state_are_refused(payload: bytes) -> None:
    assert "cannot be read" in refusal(signed(payload, KEY, "session state"))


def test_signed_bytes_that_are_not_msgpack_are_refused() -> None:
    for payload, reason in (
        (b"", "not msgpack"),
        (b"\xc1", "not msgpack"),
        (b"\x91" * 5000, "not msgpack"),
        (CONTENT[:-33], "not msgpack"),
        (CONTENT[:-32] + b"\0", "not msgpack"),
        (b"\xa1\xff", "not msgpack"),
        (msgpack.packb([1]), "a list instead of a map"),
        (msgpack.packb(None), "a NoneType instead of a map"),
        (b"\x81\x90\x01", "not msgpack"),
    ):
        assert reason in refusal(signed(payload, KEY, "session state")), payload[:20]
