"""Bodies that are compressed, in another charset or no JSON; too many texts; names that are not quite right."""

import asyncio
import gzip
import json
import zlib
from typing import Any

import httpx
import pytest

from server.http.encoding import Unpacker
from tests.server.running import Running, fake_classifier, fake_model, running

BODY = {"prompt": "a", "max_tokens": 1, "seed": 7}
TEXT = json.dumps(BODY).encode()


def sent(server: Running, content: bytes, path: str = "/v1/generate", **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.post(path, content=content, headers=names)


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("x-gzip", gzip.compress(TEXT, mtime=0)),
        ("GZIP", gzip.compress(TEXT, mtime=0)),
        ("deflate", zlib.compress(TEXT)),
        ("identity", TEXT),
        ("", TEXT),
    ],
)
def test_a_compressed_body_is_what_it_was(server: Running, encoding: str, content: bytes) -> None:
    plain = server.generate(**BODY)
    answer = sent(server, content, content_encoding=encoding)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"] == plain["choices"]


@pytest.mark.parametrize("path", ["/v1/generate", "/v1/sessions/abc/state", "/v2/models/fake/infer", "/v1/completions"])
@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress", "生"])
def test_another_encoding_is_415_with_its_name(server: Running, path: str, encoding: str) -> None:
    method = "PUT" if path.endswith("state") else "POST"
    headers = [(b"content-encoding", encoding.encode())]
    for content in (TEXT, b"x" * 2_000_000, iter([TEXT])):
        answer = server.client.request(method, path, content=content, headers=headers)
        if len(content if isinstance(content, bytes) else TEXT) > 1 << 20:
            assert answer.status_code == 413
            continue
        assert answer.status_code == 415, answer.text
        assert answer.headers["accept-encoding"] == "gzip, deflate"
        error = answer.json()["error"]
        message = error if isinstance(error, str) else error["message"]
        assert "gzip and deflate" in message
        assert encoding in message or not encoding.isascii()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (TEXT, "incorrect header check"),
        (gzip.compress(TEXT, mtime=0)[:-9], "it ends too early"),
        (gzip.compress(TEXT, mtime=0)[:3], "it ends too early"),
        (b"", "it ends too early"),
        (gzip.compress(TEXT, mtime=0) + b"more", "bytes follow its end"),
        (gzip.compress(TEXT, mtime=0) + gzip.compress(TEXT, mtime=0), "bytes follow its end"),
        (gzip.compress(TEXT, mtime=0)[:-8] + b"\0" * 8, "incorrect data check"),
        (zlib.compress(TEXT), "incorrect header check"),
    ],
)
def test_what_is_not_compressed_as_it_says_is_400(server: Running, content: bytes, why: str) -> None:
    answer = sent(server, content, content_encoding="gzip")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "encoding_invalid")
    assert answer.json()["error"]["message"] == f"The body is not gzip: {why}."


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("size", [(1 << 20) + 1, 20 << 20])
def test_a_body_that_unpacks_to_too_much_is_413(server: Running, size: int, is_chunked: bool) -> None:
    packed = gzip.compress(b" " * size, 9)
    assert len(packed) < 1 << 20
    content: Any = iter([packed[:1000], packed[1000:]]) if is_chunked else packed
    answer = server.client.post("/v1/generate", content=content, headers={"content-encoding": "gzip"})
    assert answer.status_code == 413
    assert "unpacks to over 1048576 bytes" in answer.json()["error"]["message"]
    assert server.service.bodies.num_taken == 0
    server.generate(**BODY)  # the connection goes on


def test_a_body_that_unpacks_to_the_limit_is_read(server: Running) -> None:
    padded = TEXT + b" " * ((1 << 20) - len(TEXT))
    assert sent(server, gzip.compress(padded, mtime=0), content_encoding="gzip").status_code == 200
    noise = gzip.compress(b"".join(b"%d" % number for number in range(150_000)), 1)  # many pieces come
    assert sent(server, noise, content_encoding="gzip").status_code == 400


def test_what_bodies_unpack_to_counts_among_the_bytes_that_are_held() -> None:
    with running(max_held_bytes=1 << 16) as server:
        refused = sent(server, gzip.compress(TEXT + b" " * 200_000), content_encoding="gzip")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "bodies_full")
        assert server.service.bodies.num_taken == 0


def test_no_more_is_unpacked_than_may_be_held() -> None:
    bomb = gzip.compress(b"\0" * (20 << 20), 9)
    for most in (1, 1000, 1 << 16, (1 << 16) + 1, 1 << 20):
        assert len(asyncio.run(Unpacker("gzip").unpack(bomb, most))) == most


def test_a_whole_number_may_be_written_with_a_point(server: Running) -> None:
    """JSON has one kind of number, and its schemas call 3.0 an integer."""
    plain = server.generate(prompt="a", max_tokens=3, seed=7, n=2)
    assert server.generate(prompt="a", max_tokens=3.0, seed=7.0, n=2.0)["choices"] == plain["choices"]
    for value in (2.5, 1e300, "2", True):
        answer = server.client.post("/v1/generate", json={"prompt": "a", "n": value})
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, "n")


@pytest.mark.parametrize("charset", ["latin-1", "utf-16", '"gb18030"', "shift_jis", "x" * 300])
def test_another_charset_is_415_with_its_name(server: Running, charset: str) -> None:
    answer = sent(server, TEXT, content_type=f"application/json; boundary=x; Charset={charset}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "charset_unsupported")
    assert charset.strip('"')[:70] in answer.json()["error"]["message"]
    assert "utf-8" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "content_type",
    ["application/json;charset=UTF-8", 'text/plain; charset="utf8"', "application/json; charset=us-ascii"],
)
def test_utf_8_is_read_by_any_of_its_names(server: Running, content_type: str) -> None:
    assert sent(server, TEXT, content_type=content_type).status_code == 200


@pytest.mark.parametrize("path", ["/v1/generate", "/v1/completions", "/v1/sessions", "/tokenize"])
def test_a_form_is_told_to_send_json(server: Running, path: str) -> None:
    form = server.client.post(path, data={"prompt": "a", "max_tokens": "1"})
    files = server.client.post(path, data={"prompt": "a"}, files={"f": b"x"})
    for answer, kind in ((form, "application/x-www-form-urlencoded"), (files, "multipart/form-data")):
        assert answer.status_code == 400
        assert f"The body is a form ({kind})" in answer.json()["error"]["message"]
        assert "content-type: application/json" in answer.json()["error"]["message"]


def test_json_that_is_said_to_be_a_form_is_json(server: Running) -> None:
    """curl -d says so of everything."""
    assert sent(server, TEXT, content_type="application/x-www-form-urlencoded").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (
            "/v1/generate",
            {"prompt": ["a"] * 65},
            "prompt: 65 strings; 1 to 64 are allowed; send them in requests of at most 64",
        ),
        ("/v1/completions", {"prompt": ["a"] * 65}, "send them in requests of at most 64"),
        (
            "/v1/sentiment",
            {"text": ["a"] * 257},
            "257 strings; 1 to 256 are allowed; send them in requests of at most 256",
        ),
        ("/v1/sentiment", {"text": ["a"] * 5000}, "at most 4096 are allowed. Send them in several requests."),
        ("/v1/sentiment", {"text": []}, "0 strings; 1 to 256 are allowed (got [])"),
        ("/v1/generate", {"prompt": "a", "temprature": 1}, "Unknown field 'temprature'. Did you mean temperature?"),
        ("/v1/generate", {"prompt": "a", "n": "生存😀\u202e"}, "(got '生存😀\\u202e')"),
        ("/v1/generate", {"prompt": "a", "生存": 1}, "Unknown field '生存'."),
        ("/v1/generate", {"prompt": "a", "model": "fak"}, "Model 'fak' not found. Did you mean fake?"),
        ("/v1/generate", {"prompt": "a", "model": "模型"}, "Model '模型' not found. Loaded"),
    ],
)
def test_a_message_says_what_to_do(path: str, body: dict[str, Any], message: str, several: Running) -> None:
    answer = several.client.post(path, json=body)
    assert answer.status_code in (400, 404, 422)
    assert message in answer.json()["error"]["message"]


@pytest.fixture(scope="module")
def several() -> Any:
    with running(fake_model(), fake_classifier()) as server:
        yield server


@pytest.mark.parametrize(
    ("path", "near"),
    [("/generate", "/v1/generate"), ("/v1/genrate", "/v1/generate"), ("/health/", None), ("/healthz", "/health")],
)
def test_a_path_that_is_not_quite_right_is_named(server: Running, path: str, near: str | None) -> None:
    answer = server.client.get(path)
    if near is None:
        assert answer.status_code == 200
    else:
        assert answer.status_code == 404
        assert f"Did you mean {near}?" in answer.json()["error"]["message"]
