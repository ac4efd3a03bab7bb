"""What browsers and uptime checkers ask: pages of other origins, preflights, HEAD."""

import httpx
import pytest

from tests.server.running import fake_model, running

PAGE = "https://example.org"
ASKED = {"prompt": "a", "max_tokens": 1}


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
def test_a_page_of_another_origin_is_refused_where_none_is_allowed(content_type: str) -> None:
    with running(fake_model()) as server:
        for origin in (PAGE, "null", server.url.replace("http", "https")[:-1] + "0"):
            headers = {"origin": origin, "content-type": content_type}
            answer = server.client.post("/v1/generate", json=ASKED, headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "origin_forbidden")
            assert origin in answer.json()["error"]["message"]
            assert "access-control-allow-origin" not in answer.headers
        assert server.client.post("/v1/generate", json=ASKED, headers={"origin": server.url}).status_code == 200
        assert server.client.options("/v1/generate", headers={"origin": PAGE}).status_code == 403


@pytest.mark.parametrize("allowed", [PAGE, f"https://other.org, {PAGE}", "*"])
def test_a_page_of_an_allowed_origin_may_ask(allowed: str) -> None:
    with running(fake_model(), cors_origins=allowed) as server:
        preflight = server.client.options(
            "/v1/generate",
            headers={
                "origin": PAGE,
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization, content-type",
            },
        )
        assert preflight.status_code == 200
        assert "POST" in preflight.headers["access-control-allow-methods"]
        answer = server.client.post("/v1/generate", json=ASKED, headers={"origin": PAGE})
        assert answer.status_code == 200
        wrong = server.client.post("/v1/generate", json={}, headers={"origin": PAGE})
        assert wrong.status_code == 422
        for found in (preflight, answer, wrong):
            assert found.headers["access-control-allow-origin"] in (PAGE, "*")
        assert "x-request-id" in answer.headers["access-control-expose-headers"]
        other = server.client.post("/v1/generate", json=ASKED, headers={"origin": "https://evil.org"})
        assert other.status_code == (200 if allowed == "*" else 403)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/v1/models", "/docs", "/openapi.json", "/metrics", "/v2"])
def test_head_is_get_without_its_body(path: str) -> None:
    with running(fake_model()) as server, httpx.Client(base_url=server.url) as client:
        for _ in range(2):  # the connection goes on
            head, get = client.head(path), client.get(path)
            assert (head.status_code, head.content) == (get.status_code, b"")
            assert head.headers["content-type"] == get.headers["content-type"]
        wrong = client.head("/v1/generate")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "OPTIONS, POST")
        assert client.head("/nothing").status_code == 404
