"""What a client on the wire sees: ids, wrong paths, bodies over the limit."""

import asyncio
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.app import create_app
from server.settings import Settings
from tests.server.running import Running, fake_model, fake_set, running

HEAD = b"POST /v1/generate HTTP/1.1\r\nhost: localhost\r\n"


def exchanged(server: Running, *parts: bytes) -> tuple[int, dict[bytes, bytes], Any]:
    """Send everything, and only then read: the answer's status, headers and JSON."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        with connection.makefile("rb") as reader:
            status = int(reader.readline().split()[1])
            headers = {}
            while (line := reader.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                headers[name.lower()] = value.strip()
            body = reader.read(int(headers[b"content-length"]))
    return status, headers, json.loads(body)


@pytest.mark.parametrize("closing", [b"", b"connection: close\r\n"])
@pytest.mark.parametrize("size", [(1 << 20) + 1, 20 << 20])
def test_a_body_over_the_limit_is_413_and_the_answer_always_arrives(server: Running, size: int, closing: bytes) -> None:
    head = HEAD + closing + b"content-length: %d\r\n\r\n" % size
    status, headers, answer = exchanged(server, head, b"x" * size)
    assert status == 413
    assert answer["error"]["type"] == "body_too_large_error"
    assert str(size) in answer["error"]["message"]
    assert "1048576" in answer["error"]["message"]
    assert b"x-request-id" in headers


@pytest.mark.parametrize("closing", [b"", b"connection: close\r\n"])
def test_a_chunked_body_over_the_limit_is_413_and_the_answer_always_arrives(server: Running, closing: bytes) -> None:
    chunk = b"%x\r\n" % (1 << 16) + b"x" * (1 << 16) + b"\r\n"
    status, _, answer = exchanged(
        server, HEAD + closing + b"transfer-encoding: chunked\r\n\r\n", chunk * 100, b"0\r\n\r\n"
    )
    assert (status, answer["error"]["code"]) == (413, "body_too_large")


def test_a_chunked_body_within_the_limit_is_read(server: Running) -> None:
    body = b'{"prompt": "a", "max_tokens": 1}'
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    status, _, answer = exchanged(server, HEAD + b"transfer-encoding: chunked\r\n\r\n", chunks, b"0\r\n\r\n")
    assert status == 200
    assert answer["choices"]


def test_a_client_that_asks_first_is_refused_before_it_sends(server: Running) -> None:
    head = HEAD + b"expect: 100-continue\r\ncontent-length: 99999999\r\n\r\n"
    status, headers, _ = exchanged(server, head)
    assert status == 413
    assert headers[b"connection"] == b"close"


def test_a_client_that_leaves_while_sending_is_no_error_of_the_server(server: Running) -> None:
    before = server.client.get("/metrics").text.count('status="500"')
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(HEAD + b"content-length: 1000\r\n\r\n{")
    server.until(lambda: 'reason="client_gone"' in server.client.get("/metrics").text)
    assert server.client.get("/metrics").text.count('status="500"') == before


def test_every_answer_has_a_request_id(server: Running) -> None:
    ids = set()
    for path in ("/livez", "/v1/models", "/metrics", "/docs", "/nowhere", "/v1/generate"):
        ids.add(server.client.get(path).headers["x-request-id"])
    ids.add(server.client.post("/v1/generate", content=b"{").headers["x-request-id"])
    ids.add(server.client.post("/v1/generate", json={"prompt": "a", "max_tokens": 1}).headers["x-request-id"])
    assert len(ids) == 8


@pytest.mark.parametrize(
    ("given", "returned"),
    [
        (b"abc-123:/=+", b"abc-123:/=+"),
        (b"x" * 300, b"x" * 128),
        (b"two words", None),
        (b"caf\xe9", None),
        (b"", None),
    ],
)
def test_a_given_request_id_is_returned_when_it_is_safe(server: Running, given: bytes, returned: bytes | None) -> None:
    status, headers, _ = exchanged(
        server, b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-request-id: " + given + b"\r\n\r\n"
    )
    assert status == 200
    assert len(headers[b"x-request-id"]) == (32 if returned is None else len(returned))
    if returned is not None:
        assert headers[b"x-request-id"] == returned


@pytest.mark.parametrize("path", ["/index.html", "/v1", "/v3/sessions/a", "/%00", "/%F0%9F%98%80" * 50])
def test_an_unknown_path_is_404_in_our_words(server: Running, path: str) -> None:
    answer = server.client.get(path)
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("route_not_found_error", "route_not_found")
    assert len(answer.text) < 400


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/generate"), ("DELETE", "/v1/models"), ("POST", "/livez")])
def test_a_wrong_method_is_405_with_those_allowed(server: Running, method: str, path: str) -> None:
    answer = server.client.request(method, path)
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"
    assert answer.headers["allow"] in answer.json()["error"]["message"]


def test_a_bug_in_a_route_is_500_in_our_words_without_a_traceback(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> bytes:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("server.api.operations.generate_latest", broken)
    answer = server.client.get("/metrics")
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "internal_error"
    assert "secret" not in answer.text
    assert "x-request-id" in answer.headers


class _Refuse:
    """Middleware that answers 401 to everything but /livez."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/livez":
            await Response(status_code=401)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def test_middleware_added_to_the_app_covers_every_endpoint() -> None:
    app = create_app(Settings(), lambda _, __: [fake_model()])
    app.add_middleware(_Refuse)
    paths = {path: list(methods) for path, methods in app.openapi()["paths"].items()} | {"/docs": ["get"]}
    assert {"/v1/generate", "/v1/translate", "/v1/sentiment", "/v1/sessions/{session_id}", "/metrics"} <= set(paths)

    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            for path, methods in paths.items():
                for method in methods:
                    answer = await client.request(method, path.replace("{session_id}", "s"))
                    assert answer.status_code == (401 if path != "/livez" else 200), (method, path)

    asyncio.run(main())


def test_a_permit_is_taken_before_the_body_is_read() -> None:
    with running(max_requests=1) as server:
        held = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(8)]
        for connection in held:
            connection.sendall(b"POST /v1/generate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 40\r\n\r\n{")
        server.until(lambda: server.service.limiter.permits.num_taken == 6)
        refused = server.client.post("/v1/generate", content=b"not JSON")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        for connection in held:
            connection.close()
        server.until(lambda: server.service.limiter.permits.num_taken == 0)
        server.generate(prompt="a", max_tokens=1)


KEYS = ("first-key-of-16-characters", "second-key-of-16-characters")


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_where_keys_are_set_everything_below_v1_needs_one() -> None:
    with running(api_keys=",".join(KEYS), admin_key="admin-key-of-16-characters") as server:
        for headers in ({}, bearer("wrong-key-of-16-characters"), {"authorization": KEYS[0]}, bearer("é" * 16)):
            encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
            refused = server.client.post("/v1/generate", json={"prompt": "a"}, headers=encoded)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "key_invalid"), headers
            assert refused.headers["www-authenticate"] == "Bearer"
            assert server.client.get("/v1/models").status_code == 401
        for key in (*KEYS, "admin-key-of-16-characters"):
            answer = server.client.post("/v1/generate", json={"prompt": "a", "max_tokens": 1}, headers=bearer(key))
            assert answer.status_code == 200
        assert server.client.get("/livez").status_code == 200
        assert server.client.get("/v1/sessions", headers=bearer(KEYS[0])).status_code == 403
        assert server.client.get("/v1/sessions", headers=bearer("admin-key-of-16-characters")).status_code == 200


@pytest.mark.parametrize("clients", ["keys", "proxy", "addresses"])
def test_a_client_that_holds_most_permits_leaves_some_to_others(clients: str) -> None:
    settings: dict[str, Any] = {"keys": {"api_keys": ",".join(KEYS)}, "proxy": {"trusted_proxies": "127.0.0.1"}}.get(
        clients, {}
    )
    greedy: dict[str, str] = {"keys": bearer(KEYS[0]), "proxy": {"x-forwarded-for": "192.0.2.1"}}.get(clients, {})
    modest: dict[str, str] = {"keys": bearer(KEYS[1]), "proxy": {"x-forwarded-for": "192.0.2.2"}}.get(clients, {})
    address = "127.0.0.2" if clients == "addresses" else "127.0.0.1"
    body = {"prompt": "a", "max_tokens": 1}
    with (
        running(max_requests=16, **settings) as server,
        ThreadPoolExecutor(20) as pool,
        httpx.Client(base_url=server.url, transport=httpx.HTTPTransport(local_address=address), timeout=30) as other,
    ):
        gate = server.steps.gate = threading.Event()
        asked = [pool.submit(server.client.post, "/v1/generate", json=body, headers=greedy) for _ in range(15)]
        server.until(lambda: server.service.num_requests == 12 and any(each.done() for each in asked))
        first = pool.submit(other.post, "/v1/generate", json=body, headers=modest)
        server.until(lambda: server.service.num_requests == 13)
        gate.set()
        assert first.result().status_code == 200
        assert sorted(each.result().status_code for each in asked) == [200] * 12 + [429] * 3


@pytest.mark.parametrize("num_models", [1, 2])
def test_where_no_model_of_a_path_has_a_permit_nothing_is_done_for_a_request(num_models: int) -> None:
    """Its body is not even looked at. Where another model of the path has one, it is."""
    with (
        running(fake_model("a"), fake_model("b"), max_requests=1) as server,
        ThreadPoolExecutor(2) as pool,
        httpx.Client(base_url=server.url, timeout=30) as other,
    ):
        gate = threading.Event()
        asked = []
        for number, name in enumerate("ab"[:num_models], 1):
            fake_set(server.models[f"{name}/1"]).step_runner.gate = gate
            asked.append(pool.submit(server.generate, model=name, prompt="a", max_tokens=1))
            server.until(lambda number=number: server.service.num_requests == number)  # type: ignore[misc]
        refused = other.post("/v1/generate", content=b"no JSON")
        assert refused.status_code == (400 if num_models == 1 else 429), refused.text
        assert other.post("/v2/models/a/infer", content=b"no JSON").status_code == 429
        assert other.post("/v2/models/a/versions/1/infer", content=b"no JSON").status_code == 429
        assert other.post("/v2/models/a/versions/2/infer", content=b"no JSON").status_code == 400
        assert other.post("/tokenize", json={"model": "a", "prompt": "a"}).status_code == 200  # the model does nothing
        assert other.post("/v2/models/nobody/infer", content=b"no JSON").status_code == 400
        gate.set()
        assert all(each.result()["choices"] for each in asked)


def test_nobody_says_who_he_is_but_through_a_trusted_proxy() -> None:
    """Each request names another client in X-Forwarded-For: without a trusted proxy they are one client."""
    with running(max_requests=16) as server, ThreadPoolExecutor(20) as pool:
        gate = server.steps.gate = threading.Event()
        asked = [
            pool.submit(
                server.client.post,
                "/v1/generate",
                json={"prompt": "a", "max_tokens": 1},
                headers={"x-forwarded-for": f"192.0.2.{number}"},
            )
            for number in range(16)
        ]
        server.until(lambda: server.service.num_requests == 12 and sum(each.done() for each in asked) == 4)
        gate.set()
        assert sorted(each.result().status_code for each in asked) == [200] * 12 + [429] * 4


def test_bodies_together_are_held_within_their_limit() -> None:
    with running(max_held_bytes=1 << 16) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as slow:
            slow.sendall(HEAD + b"content-length: 60000\r\n\r\n" + b"x" * 50_000)
            server.until(lambda: server.service.bodies.num_taken == 50_000)
            refused = server.client.post("/v1/generate", json={"prompt": "a" * 20_000})
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "bodies_full")
            assert "RNNSERVE_MAX_HELD_BYTES" in refused.json()["error"]["message"]
            server.generate(prompt="a", max_tokens=1)
        server.until(lambda: server.service.bodies.num_taken == 0)
        server.generate(prompt="a" * 20_000, max_tokens=1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({f"f{i}": 1 for i in range(101)}, "The body has 101 fields"),
        ({"prompt": ["a"] * 4097}, "prompt: 4097 entries"),
        ({"prompt": "a", "logit_bias": {str(i): 1 for i in range(5000)}}, "logit_bias: 5000 entries"),
        ({"prompt": [[["a"] * 5000]]}, "prompt: 5000 entries"),
    ],
)
def test_a_body_of_too_many_entries_is_refused_before_it_is_checked(
    server: Running, body: dict[str, Any], message: str
) -> None:
    refused = server.client.post("/v1/generate", json=body)
    assert refused.status_code == 422
    assert message in refused.json()["error"]["message"]


def test_a_request_that_may_need_too_many_tokens_is_422_and_one_that_does_not_fit_now_429() -> None:
    with running(max_pending_tokens=2048) as server, ThreadPoolExecutor(2) as pool:
        refused = server.client.post("/v1/generate", json={"prompt": "a", "max_tokens": 100, "n": 2, "logprobs": 10})
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "request_too_large")
        assert "2201 tokens" in refused.json()["error"]["message"]
        gate = server.steps.gate = threading.Event()
        large = pool.submit(server.generate, prompt="a", max_tokens=2000)
        server.until(lambda: server.service.num_requests == 1)
        refused = server.client.post("/v1/generate", json={"prompt": "a", "max_tokens": 500})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")
        small = pool.submit(server.generate, prompt="a", max_tokens=5)
        server.until(lambda: server.service.num_requests == 2)
        gate.set()
        assert small.result()["choices"]
        assert large.result()["choices"]
        server.until(lambda: all(model.limiter.tokens.num_taken == 0 for model in server.service.registry.models))
