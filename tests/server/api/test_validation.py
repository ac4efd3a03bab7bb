"""Bodies that break JSON parsers, over a real socket: the status is 400 or 422, never 500."""

import pytest

from tests.server.running import Running

PROMPT = b'{"prompt": "a", "max_tokens": 1, '


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"nope",
        b'{"prompt": "a"} trailing',
        PROMPT + b'"temperature": NaN}',
        PROMPT + b'"temperature": Infinity}',
        PROMPT + b'"temperature": -Infinity}',
        PROMPT + b'"temperature": 1e400}',
        PROMPT + b'"temperature": -1e400}',
        PROMPT + b'"seed": 1' + b"0" * 400 + b"}",
        rb'{"prompt": "\ud800"}',
        rb'{"prompt": "\udc00\ud800"}',
        b'{"prompt": "\xed\xa0\x80"}',
        b'{"prompt": "\xff"}',
        b'\xef\xbb\xbf{"prompt": "a"}',
        '{"prompt": "a"}'.encode("utf-16"),
        b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"prompt": "a\nb"}',
        b'{"prompt": "a",}',
        b"{'prompt': 'a'}",
        b'{"prompt": "a", "n": 01}',
        b"\x00",
    ],
)
def test_what_is_not_json_in_utf8_is_400(server: Running, body: bytes) -> None:
    answer = server.client.post("/v1/generate", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("bad_json_error", "json_invalid", None)
    assert len(answer.content) < 1000


@pytest.mark.parametrize("body", [b"null", b"[]", b'"prompt"', b"1", b"true", b"[" * 900 + b"]" * 900])
def test_json_that_is_not_an_object_is_422(server: Running, body: bytes) -> None:
    answer = server.client.post("/v1/generate", content=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "body_not_object"


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt": ' + b"[" * 900 + b"]" * 900 + b"}",
        PROMPT + b'"temperature": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
        PROMPT + b'"seed": 18446744073709551616}',
        PROMPT + b'"": 1}',
        PROMPT + b'"n": ' + b"9" * 300 + b"}",
    ],
)
def test_strange_values_are_422(server: Running, body: bytes) -> None:
    answer = server.client.post("/v1/generate", content=body)
    assert answer.status_code == 422
    assert len(answer.content) < 1000


def test_of_a_key_given_twice_the_last_counts(server: Running) -> None:
    answer = server.client.post("/v1/generate", content=PROMPT + b'"seed": 1, "seed": 2}')
    assert answer.json()["seed"] == 2


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", None])
def test_the_content_type_is_not_looked_at(server: Running, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    assert server.client.post("/v1/generate", content=PROMPT[:-2] + b"}", headers=headers).status_code == 200


def test_text_may_hold_any_character(server: Running) -> None:
    answer = server.client.post("/v1/generate", content=rb'{"prompt": "a\u0000\ud83d\ude00\uffff", "max_tokens": 1}')
    assert answer.status_code == 200
    assert answer.json()["usage"]["unknown_characters"] == 3
