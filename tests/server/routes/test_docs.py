import re

from server.contract.generate import GenerateRequest
from tests.server.running import running


def test_the_page_names_every_field_and_needs_nothing_from_the_network() -> None:
    with running() as server:
        answer = server.client.get("/docs")
        paths = server.client.get("/openapi.json").json()["paths"]
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    for field in GenerateRequest.model_fields:
        assert f"<code>{field}</code>" in answer.text
    for path in paths:
        assert path in answer.text
    assert "integer &gt;= 1 &lt;= 4096" in answer.text
    assert not re.search(r"https?://|<script|src=", answer.text)
