"""POST /v1/sentiment as API.md says it, over a real socket."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from server.api.sentiment import SentimentAnswer
from server.endpoint import LoadedModel
from tests.server.fake_runner import FakeSequenceRunner
from tests.server.running import BYTES, CHARACTERS, Running, fake_classifier, fake_model, fake_set, running


@pytest.fixture(scope="module")
def classifier() -> Iterator[Running]:
    with running(fake_classifier()) as instance:
        yield instance


def without_id(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "id"}


def test_the_answer_has_the_shape_of_the_contract_and_the_likeliest_label(classifier: Running) -> None:
    answer = classifier.classify(text="to be", all_scores=True)
    SentimentAnswer.model_validate(answer, strict=True, extra="forbid")
    assert list(answer) == ["id", "model", "results", "usage"]
    assert (answer["model"], answer["usage"]) == ("classifier/1", {"tokens": 5})
    (result,) = answer["results"]
    ids = np.zeros((1, 16), np.int64)
    ids[0, :5] = CHARACTERS.encode("to be")
    logits = FakeSequenceRunner(0).run("classify", {"ids": ids, "lengths": np.array([5], np.int32)})["logits"][0]
    weights = np.exp(logits.astype(np.float64))
    assert result["scores"] == pytest.approx(
        dict(zip(["negative", "neutral", "positive"], weights / weights.sum(), strict=True))
    )
    assert result["label"] == max(result["scores"], key=result["scores"].__getitem__)
    assert result["score"] == result["scores"][result["label"]]
    assert "scores" not in classifier.classify(text="to be")["results"][0]


def test_several_texts_are_classified_in_their_order_as_each_alone(classifier: Running) -> None:
    texts = ["to be", "or not" * 30, "a", "生存", "b" * 17] * 51
    together = classifier.classify(text=texts, all_scores=True)
    assert together["usage"]["tokens"] == sum(map(len, texts))
    for text, result in list(zip(texts, together["results"], strict=True))[:5]:
        assert classifier.classify(text=text, all_scores=True)["results"] == [result]


BAD_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "text", "field_missing"),
    ({"text": ""}, "text", "field_invalid"),
    ({"text": []}, "text", "field_invalid"),
    ({"text": ["a", ""]}, "text", "field_invalid"),
    ({"text": ["a"] * 257}, "text", "field_invalid"),
    ({"text": {"a": 1}}, "text", "field_invalid"),
    ({"text": "a", "all_scores": 1}, "all_scores", "field_invalid"),
    ({"text": "a", "model": 3}, "model", "field_invalid"),
    ({"text": "a", "stream": True}, "stream", "field_unknown"),
]


@pytest.mark.parametrize(("fields", "param", "code"), BAD_FIELDS)
def test_a_wrong_field_is_named(classifier: Running, fields: dict[str, Any], param: str, code: str) -> None:
    answer = classifier.client.post("/v1/sentiment", json=fields)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("field_error", param, code)
    assert param in error["message"]


def test_a_text_over_the_limit_is_refused_with_both_numbers(classifier: Running) -> None:
    for text, found in (("b" * 8193, "8193"), ("words, " * 50_000, "at least 87500")):
        answer = classifier.client.post("/v1/sentiment", json={"text": ["a", text]})
        assert answer.status_code == 422
        message = answer.json()["error"]["message"]
        assert f"text 1 has {found}" in message
        assert "at most 8192 are allowed (RNNSERVE_MAX_SENTIMENT_TOKENS)" in message
    assert classifier.classify(text="b" * 8192)["usage"]["tokens"] == 8192


def test_a_text_of_50_000_words_is_refused_by_a_byte_level_model() -> None:
    with running(fake_classifier(tokenizer=BYTES)) as server:
        assert server.client.post("/v1/sentiment", json={"text": "words, " * 50_000}).status_code == 422


def test_models_of_the_task_are_found_by_name_and_default() -> None:
    models: list[LoadedModel] = [fake_classifier("one"), fake_classifier("two"), fake_model("lm")]
    with running(*models) as server:
        assert server.classify(text="a", model="two")["model"] == "two/1"
        for fields, status, words in (
            ({}, 422, "2 sentiment models are loaded. Choices: one/1, two/1. Or set RNNSERVE_DEFAULT_SENTIMENT."),
            ({"model": "lm"}, 422, "is for generation, not sentiment"),
            ({"model": "three"}, 404, "Loaded sentiment models: one/1, two/1"),
        ):
            answer = server.client.post("/v1/sentiment", json={"text": "a", **fields})
            assert answer.status_code == status
            assert words in answer.json()["error"]["message"]
    with running(*models, default_sentiment="one") as server:
        assert server.classify(text="a")["model"] == "one/1"
        assert server.generate(prompt="a", max_tokens=1)["model"] == "lm/1"


def test_a_client_that_leaves_is_dropped_and_others_are_answered() -> None:
    with running(fake_classifier()) as server:
        model = server.models["classifier/1"]
        expected = server.classify(text="to be")
        gate = fake_set(model).sequence_runner.gate = threading.Event()
        server.ask_and_leave("/v1/sentiment", {"text": ["a"] * 256})
        gate.set()
        assert without_id(server.classify(text="to be")) == without_id(expected)
        (served,) = server.service.registry.models
        server.until(lambda: not (served.engine.gauges.num_running or served.engine.gauges.num_waiting))
        assert 'rnnserve_requests_total{model="classifier/1",status="499"} 1.0' in server.client.get("/metrics").text


def test_overload_is_429_and_draining_503() -> None:
    with running(fake_classifier(), max_requests=1) as server:
        model = server.models["classifier/1"]
        gate = fake_set(model).sequence_runner.gate = threading.Event()
        thread = threading.Thread(target=lambda: server.classify(text="a"))
        thread.start()
        server.until(lambda: server.service.num_requests == 1)
        with httpx.Client(base_url=server.url, timeout=30) as client:
            refused = client.post("/v1/sentiment", json={"text": "a"})
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        gate.set()
        thread.join()
        server.service.phase = "draining"
        answer = server.client.post("/v1/sentiment", json={"text": "a"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")


def test_an_engine_failure_is_500_and_others_are_answered() -> None:
    with running(fake_classifier()) as server:
        model = server.models["classifier/1"]
        fake_set(model).sequence_runner.fails_at = CHARACTERS.encode("z")[0]
        answer = server.client.post("/v1/sentiment", json={"text": "za"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (500, "engine_error")
        server.classify(text="a")


def test_the_answer_does_not_depend_on_the_neighbours(classifier: Running) -> None:
    rng = np.random.default_rng(3)

    async def ask(client: httpx.AsyncClient, fields: dict[str, Any]) -> dict[str, Any]:
        answer = await client.post("/v1/sentiment", json=fields)
        assert answer.status_code == 200, answer.text
        return without_id(answer.json())

    async def main() -> None:
        requests = [
            {
                "text": [
                    "".join(rng.choice(list("to be or not"), rng.integers(1, 300))) for _ in range(rng.choice([1, 9]))
                ],
                "all_scores": True,
            }
            for _ in range(64)
        ]
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=classifier.url, timeout=60, limits=limits) as client:
            together = await asyncio.gather(*(ask(client, fields) for fields in requests))
            for fields, answer in list(zip(requests, together, strict=True))[::3]:
                assert await ask(client, fields) == answer

    asyncio.run(main())
