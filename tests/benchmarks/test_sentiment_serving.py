from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from benchmarks.sentiment_serving import BATCHES, bare_seconds
from benchmarks.sentiment_serving_noop import NoopServer
from benchmarks.sentiment_serving_texts import texts_of
from benchmarks.serving.client import connector
from benchmarks.serving.loops import run
from models.bundle import Bundle
from runtime.opening import CPU, open_set


def test_the_endpoint_that_does_nothing_answers_what_it_was_told_and_its_cpu_time_grows() -> None:
    answer = {"id": "sen-0", "results": [{"label": "positive", "score": 0.5}], "usage": {"tokens": 3}}

    async def asked(port: int, times: int) -> list[tuple[int, bytes]]:
        client = await connector(port)()
        found = [await client.post("/v1/sentiment", b'{"text": "a"}') for _ in range(times)]
        client.close()
        return [(status, content) for status, _, content in found]

    with NoopServer(orjson.dumps(answer)) as server:
        before = server.cpu_seconds()
        for status, content in run(asked(server.port, 500)):
            assert (status, orjson.loads(content)) == (200, answer)
        assert server.cpu_seconds() > before


def test_the_bare_loop_is_as_cheap_as_its_best_batch(built_bundle: Callable[..., Bundle]) -> None:
    bundle = built_bundle("lstm", "sentiment")
    texts = [bundle.tokenizer.encode("to be or not " * (1 + i % 5)) for i in range(40)]
    found = bare_seconds(open_set(CPU, bundle, "int8").sequences(), texts)
    assert found["m"] == min(found[f"m_batch_{batch}"] for batch in BATCHES) > 0


def test_without_the_data_sets_texts_are_made_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNNSERVE_DATA", raising=False)
    kinds = texts_of(Bundle(Path("artifacts/sentiment-en/1")), 50)
    assert [kind.name for kind in kinds] == ["sentences", "reviews"]
    for kind in kinds:
        assert len(kind.texts) == 50
        assert "RNNSERVE_DATA" in kind.origin
