import json
import re
from html import unescape

from server.api.generate import GenerateRequest
from server.api.sentiment import SentimentRequest
from server.api.translate import TranslateRequest
from server.http.body import request_from
from tests.server.running import Running, running


def test_the_page_names_every_field_and_needs_nothing_from_the_network() -> None:
    with running() as server:
        answer = server.client.get("/docs")
        paths = server.client.get("/openapi.json").json()["paths"]
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    for request in (GenerateRequest, TranslateRequest, SentimentRequest):
        for field in request.model_fields:
            assert f"<code>{field}</code>" in answer.text
    for path in paths:
        assert path in answer.text
    assert "integer &gt;= 1 &lt;= 4096" in answer.text
    assert not re.search(r"https?://|<script|src=", answer.text)


def test_the_examples_are_requests_that_are_allowed_and_are_shown(server: Running) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    text = unescape(server.client.get("/docs").text)
    for path, kind in (
        ("/v1/generate", GenerateRequest),
        ("/v1/translate", TranslateRequest),
        ("/v1/sentiment", SentimentRequest),
    ):
        example = paths[path]["post"]["requestBody"]["content"]["application/json"]["example"]
        request_from(kind, json.dumps(example).encode())
        assert json.dumps(example, ensure_ascii=False) in text


def test_what_a_request_may_take_and_took_is_described(server: Running) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    page = server.client.get("/docs").text
    for path in ("/v1/generate", "/v1/translate", "/v1/sentiment"):
        operation = paths[path]["post"]
        (header,) = operation["parameters"]
        assert (header["name"], header["schema"]["maximum"]) == ("x-request-timeout-ms", 600_000)
        assert "504" in operation["responses"]
        assert "x-queue-time" in operation["responses"]["200"]["headers"]
    assert "x-request-timeout-ms (integer &gt;= 1 &lt;= 600000)" in page
    assert "x-total-time" in page
