"""POST /predict and GET /info, over a real socket."""

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from server.api.text_embeddings_inference import InfoAnswer, PredictAnswer
from tests.server.running import CHARACTERS, Running, fake_classifier, fake_model, fake_set, running


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(fake_classifier(), max_sentiment_tokens=100) as instance:
        yield instance


def predict(server: Running, inputs: Any, **fields: Any) -> Any:
    answer = server.client.post("/predict", json={"inputs": inputs, **fields})
    assert answer.status_code == 200, answer.text
    PredictAnswer.model_validate(answer.json())
    return answer.json()


def test_a_text_has_all_labels_best_first(server: Running) -> None:
    scores = server.classify(text="to be", all_scores=True)["results"][0]["scores"]
    found = predict(server, "to be")
    assert {item["label"]: item["score"] for item in found} == scores
    assert [item["score"] for item in found] == sorted(scores.values(), reverse=True)
    assert predict(server, ["to be"]) == found
    raw = predict(server, "to be", raw_scores=True)
    assert [item["label"] for item in raw] == [item["label"] for item in found]
    weights = np.exp([item["score"] for item in raw])
    assert [item["score"] for item in found] == pytest.approx(weights / weights.sum())


def test_a_batch_has_its_texts_in_lists(server: Running) -> None:
    assert predict(server, [["to be"], ["or not"]]) == [predict(server, "to be"), predict(server, "or not")]
    assert predict(server, [["to be"]]) == [predict(server, "to be")]


def test_a_long_text_is_cut_where_that_is_asked_for(server: Running) -> None:
    text = "to be " * 30
    right, left = (
        predict(server, text, truncate=True),
        predict(server, text, truncate=True, truncation_direction="Left"),
    )
    assert right == predict(server, text[:100])
    assert left == predict(server, text[-100:])
    assert predict(server, [["to be"], [text * 100]], truncate=True)[0] == predict(server, "to be")


@pytest.mark.parametrize(
    ("fields", "status", "kind", "words"),
    [
        ({}, 422, "Validation", "inputs is required"),
        ({"inputs": ["a", "b"]}, 422, "Validation", "a flat list of two strings is one pair; this model reads single"),
        ({"inputs": ["a", "b", "c"]}, 422, "Validation", "a flat list of 3 strings"),
        ({"inputs": [["a"], ["a", "b"]]}, 422, "Validation", "entry 1 is a pair of texts"),
        ({"inputs": [["a"], []]}, 422, "Validation", "entry 1 has 0 texts"),
        ({"inputs": []}, 422, "Validation", "must be a text, or a batch"),
        ({"inputs": [["a"], "b"]}, 422, "Validation", "must be a text, or a batch"),
        ({"inputs": [["a"]] * 257}, 413, "Validation", "257 texts; at most 256"),
        ({"inputs": ""}, 400, "Empty", "a text is empty"),
        ({"inputs": [["a"], [""]]}, 400, "Empty", "a text is empty"),
        ({"inputs": "a" * 101}, 422, "Validation", "inputs has 101 tokens; at most 100"),
        ({"inputs": "a", "truncate": 1}, 422, "Validation", "truncate: "),
        ({"inputs": "a", "truncation_direction": "up"}, 422, "Validation", "truncation_direction: "),
        ({"inputs": "a", "model": "b"}, 404, "Validation", "Model 'b' not found"),
    ],
)
def test_an_error_has_its_shape_and_code(
    server: Running, fields: dict[str, Any], status: int, kind: str, words: str
) -> None:
    answer = server.client.post("/predict", json=fields)
    assert (answer.status_code, answer.json()["error_type"]) == (status, kind)
    assert set(answer.json()) == {"error", "error_type"}
    assert words in answer.json()["error"]


def test_fields_that_are_not_known_are_passed_over_and_bad_json_is_validation(server: Running) -> None:
    assert predict(server, "to be", normalize=True) == predict(server, "to be")
    answer = server.client.post("/predict", content=b"{")
    assert (answer.status_code, answer.json()["error_type"]) == (422, "Validation")


def test_info_names_the_model_and_the_limits(server: Running) -> None:
    found = server.client.get("/info").json()
    InfoAnswer.model_validate(found, strict=True, extra="forbid")
    assert (found["model_id"], found["max_input_length"], found["max_client_batch_size"]) == ("classifier/1", 100, 256)
    assert found["model_type"]["classifier"]["id2label"] == {"0": "negative", "1": "neutral", "2": "positive"}


def test_of_several_models_the_default_answers_or_none() -> None:
    with running(fake_classifier("one"), fake_classifier("two")) as own:
        for answer in (own.client.post("/predict", json={"inputs": "a"}), own.client.get("/info")):
            assert answer.status_code == 422
            assert "Choices: one/1, two/1. Or set RNNSERVE_DEFAULT_SENTIMENT" in answer.json()["error"]
        assert predict(own, "a", model="two")
    with running(fake_classifier("one"), fake_classifier("two"), default_sentiment="two") as own:
        assert own.client.get("/info").json()["model_id"] == "two/1"
    with running(fake_model()) as own:
        assert own.client.post("/predict", json={"inputs": "a"}).status_code == 422


def test_overload_and_failure_have_their_codes() -> None:
    with running(fake_classifier(), max_requests=1) as own:
        runner = fake_set(own.models["classifier/1"]).sequence_runner
        gate = runner.gate = threading.Event()
        thread = threading.Thread(target=lambda: own.classify(text="a"))
        thread.start()
        own.until(lambda: own.service.num_requests == 1)
        refused = httpx.post(f"{own.url}/predict", content=b"not looked at", timeout=30)
        assert (refused.status_code, refused.json()["error_type"]) == (429, "Overloaded")
        assert refused.headers["retry-after"]
        gate.set()
        thread.join()
        runner.fails_at = CHARACTERS.encode("z")[0]
        failed = own.client.post("/predict", json={"inputs": "z"})
        assert (failed.status_code, failed.json()["error_type"]) == (424, "Backend")
