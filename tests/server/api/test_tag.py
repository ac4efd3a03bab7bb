"""POST /v1/tag, over a real socket."""

import asyncio
import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx
import numpy as np
import pytest
from huggingface_hub import InferenceClient

from models.crf import Crf
from models.spans import spans_of
from models.word_ids import Encoded
from server.api.tag import Labelled, Source, TagAnswer
from tests.server.fake_runner import FakeSequenceRunner
from tests.server.running import CHARACTERS, Running, fake_classifier, fake_set, fake_tagger, running

TEXT = "to be, or not to be. that is so!"


@pytest.fixture(scope="module")
def tagger() -> Iterator[Running]:
    with running(fake_tagger()) as instance:
        yield instance


def without_id(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "id"}


def test_a_word_has_the_likeliest_label_of_its_first_token_in_its_own_sentence(tagger: Running) -> None:
    answer = tagger.tag(text=TEXT)
    TagAnswer.model_validate(answer, strict=True, extra="forbid")
    assert list(answer) == ["id", "model", "results", "usage"]
    assert (answer["model"], answer["usage"]) == ("tagger/1", {"tokens": 24})
    (result,) = answer["results"]
    words = ["to", "be", ",", "or", "not", "to", "be", ".", "that", "is", "so", "!"]
    assert [token["text"] for token in result["tokens"]] == words
    assert all(TEXT[token["start"] : token["end"]] == token["text"] for token in result["tokens"])
    expected: list[tuple[str, float]] = []
    for sentence in (words[:8], words[8:]):
        ids, owners, _ = CHARACTERS.encode_words(sentence)
        row = np.zeros((1, 32), np.int64)
        row[0, : len(ids)] = ids
        logits = FakeSequenceRunner(0).run("tag", {"ids": row, "lengths": np.array([len(ids)], np.int32)})["logits"][0]
        for word in range(len(sentence)):
            z = logits[owners.index(word)].astype(np.float64)
            label = ("B-x", "I-x", "O")[int(z.argmax())]
            expected.append((label, float(np.exp(z.max()) / np.exp(z).sum())))
    assert [token["label"] for token in result["tokens"]] == [label for label, _ in expected]
    assert [token["score"] for token in result["tokens"]] == pytest.approx([score for _, score in expected])


def test_with_a_crf_the_labels_are_its_and_the_scores_their_probabilities() -> None:
    transitions = np.random.default_rng(2).standard_normal((4, 4), np.float32)
    crf = Crf(transitions, ("B-x", "I-x", "O"))
    texts = ["to be", "or not, that is " * 20, "a"]
    with running(fake_tagger(crf=crf)) as server:
        results = server.tag(text=texts, aggregation="none")["results"]
        for text, result in zip(texts, results, strict=True):
            ids = CHARACTERS.encode(text.replace(" ", ""))
            row = np.zeros((1, -(-len(ids) // 16) * 16), np.int64)
            row[0, : len(ids)] = ids
            lengths = np.array([len(ids)], np.int32)
            logits = FakeSequenceRunner(0).run("tag", {"ids": row, "lengths": lengths})["logits"][0, : len(ids)]
            classes, scores = crf.decode(logits)
            labels = [("B-x", "I-x", "O")[i] for i in classes.tolist()]
            assert [(token["label"], token["score"]) for token in result["tokens"]] == list(
                zip(labels, scores.tolist(), strict=True)
            )
            assert "I-x" in labels or len(labels) == 1
            assert all(not (a == "O" and b == "I-x") for a, b in pairwise(["O", *labels]))
            assert server.tag(text=text, aggregation="none")["results"] == [result]
        client = InferenceClient(model=f"{server.url}/models/tagger")
        found = client.token_classification(texts[1], ignore_labels=[])
        assert [(item.entity, item.score) for item in found] == [
            (token["label"], token["score"]) for token in results[1]["tokens"]
        ]


def test_spans_are_made_of_the_words_labels(tagger: Running) -> None:
    text = "to be, or not to be, that is the matter of a day"
    (result,) = tagger.tag(text=text)["results"]
    tokens = result["tokens"]
    found = spans_of([token["label"] for token in tokens])
    assert found
    assert result["spans"] == [
        {
            "label": span.label,
            "text": text[tokens[span.first]["start"] : tokens[span.last - 1]["end"]],
            "start": tokens[span.first]["start"],
            "end": tokens[span.last - 1]["end"],
            "score": pytest.approx(np.mean([token["score"] for token in tokens[span.first : span.last]])),
        }
        for span in found
    ]


def source() -> Source:
    """Two words, of two tokens and one, whose tokens disagree."""
    encoded = Encoded(ids=[1, 2, 3], words=[0, 0, 1], spans=[(0, 1), (1, 2), (0, 2)])
    tokens = [Labelled("B-a", 0, 1, 0.5), Labelled("B-b", 1, 2, 0.75), Labelled("I-b", 3, 5, 0.25)]
    return Source("ab cd", [[(0, 2), (3, 5)]], [encoded], [tokens])


@pytest.mark.parametrize(
    ("how", "words", "spans"),
    [
        ("none", ["B-a", "B-b", "I-b"], None),
        ("first", ["B-a", "I-b"], [("a", 0, 2, 0.5), ("b", 3, 5, 0.25)]),
        ("max", ["B-b", "I-b"], [("b", 0, 5, 0.5)]),
        ("simple", ["B-a", "I-b"], [("a", 0, 1, 0.5), ("b", 1, 5, 0.5)]),
    ],
)
def test_each_aggregation_reads_tokens_in_its_own_way(how: Any, words: list[str], spans: Any) -> None:
    assert [unit.label for sentence in source().labelled(how) for unit in sentence] == words
    if spans is not None:
        assert source().spans(how) == spans


def test_words_that_are_given_stay_as_they_are(tagger: Running) -> None:
    (result,) = tagger.tag(tokens=[["to be", "or", "not."]])["results"]
    assert [(token["text"], token["start"], token["end"]) for token in result["tokens"]] == [
        ("to be", 0, 5),
        ("or", 6, 8),
        ("not.", 9, 13),
    ]
    words = ["to", "be", ",", "or", "not", "to", "be", "."]
    (apart,) = tagger.tag(tokens=[words])["results"]
    (whole,) = tagger.tag(text=TEXT)["results"]
    assert [token["score"] for token in apart["tokens"]] == [token["score"] for token in whole["tokens"][:8]]


def test_texts_and_sentences_are_answered_as_each_alone(tagger: Running) -> None:
    texts = ["to be", "or not. " * 30, "a", "生存", "b" * 17] * 51
    together = tagger.tag(text=texts)
    for text, result in list(zip(texts, together["results"], strict=True))[:5]:
        assert tagger.tag(text=text)["results"] == [result]


BAD_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "text", "field_missing"),
    ({"text": "a", "tokens": [["a"]]}, "text", "field_invalid"),
    ({"text": ""}, "text", "field_invalid"),
    ({"text": []}, "text", "field_invalid"),
    ({"text": " \n"}, "text", "field_invalid"),
    ({"text": ["a"] * 257}, "text", "field_invalid"),
    ({"tokens": []}, "tokens", "field_invalid"),
    ({"tokens": [["a"], []]}, "tokens", "field_invalid"),
    ({"tokens": [["a", " "]]}, "tokens", "field_invalid"),
    ({"tokens": ["a"]}, "tokens", "field_invalid"),
    ({"tokens": [["a", 3]]}, "tokens", "field_invalid"),
    ({"tokens": [["a"]] * 257}, "tokens", "field_invalid"),
    ({"tokens": [["a"] * 5000]}, "tokens", "field_invalid"),
    ({"text": "a", "aggregation": "average"}, "aggregation", "field_invalid"),
    ({"text": "a", "model": 3}, "model", "field_invalid"),
    ({"text": "a", "stream": True}, "stream", "field_unknown"),
]


@pytest.mark.parametrize(("fields", "param", "code"), BAD_FIELDS)
def test_a_wrong_field_is_named(tagger: Running, fields: dict[str, Any], param: str, code: str) -> None:
    answer = tagger.client.post("/v1/tag", json=fields)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("field_error", param, code)
    assert param in error["message"]


def test_a_text_over_the_limit_is_refused_with_both_numbers(tagger: Running) -> None:
    for text, found in (
        ("b" * 8193, "8193 tokens"),
        ("a " * 9000, "more than 8192 tokens"),
        ("a" * 600_000, "600000 characters"),
    ):
        answer = tagger.client.post("/v1/tag", json={"text": ["a", text]})
        assert answer.status_code == 422
        message = answer.json()["error"]["message"]
        assert f"text 1 has {found}" in message
        assert "(RNNSERVE_MAX_TAGGING_TOKENS)" in message
    assert tagger.tag(text="b" * 8192)["usage"]["tokens"] == 8192


@pytest.mark.parametrize(
    "text",
    [
        "\u200b",
        "\ufeff",
        "e\u0301\u0301" * 50,
        "\x00",
        "😀" * 20,
        "a" * 5000,
        "﷽",
        "\u0301",
        "1e308 NaN",
        "\t.\r\n.",
    ],
)
def test_unusual_text_has_an_answer_with_its_own_characters(tagger: Running, text: str) -> None:
    answer = tagger.client.post("/v1/tag", json={"text": text})
    assert answer.status_code in (200, 422), answer.text
    if answer.status_code == 200:
        for how in ("none", "first", "max", "simple"):
            (result,) = tagger.tag(text=text, aggregation=how)["results"]
            assert all(text[token["start"] : token["end"]] == token["text"] for token in result["tokens"])


def test_models_of_the_task_are_found_by_name_and_default() -> None:
    models = [fake_tagger("one"), fake_tagger("two"), fake_classifier("other")]
    with running(*models) as server:
        assert server.tag(text="a", model="two")["model"] == "two/1"
        for path, fields, status, words in (
            (
                "/v1/tag",
                {"text": "a"},
                422,
                "2 tagging models are loaded. Choices: one/1, two/1. Or set",
            ),
            ("/v1/tag", {"text": "a", "model": "other"}, 422, "is for sentiment, not tagging"),
            ("/v1/tag", {"text": "a", "model": "three"}, 404, "Loaded tagging models: one/1, two/1"),
        ):
            answer = server.client.post(path, json=fields)
            assert answer.status_code == status
            assert words in answer.json()["error"]["message"]
        cards = {card["id"]: card for card in server.client.get("/v1/models").json()["data"]}
        assert (cards["one"]["task"], cards["one"]["labels"]) == ("tagging", ["B-x", "I-x", "O"])
    with running(*models, default_tagging="one") as server:
        assert server.tag(text="a")["model"] == "one/1"


def test_a_deadline_overload_and_a_failure_are_statuses() -> None:
    with running(fake_tagger(), max_requests=1) as server:
        graphs = fake_set(server.models["tagger/1"])
        gate = graphs.sequence_runner.gate = threading.Event()
        late = server.client.post("/v1/tag", json={"text": "a"}, headers={"x-request-timeout-ms": "50"})
        assert (late.status_code, late.json()["error"]["type"]) == (504, "deadline_error")
        thread = threading.Thread(target=lambda: server.tag(text="a"))
        thread.start()
        server.until(lambda: server.service.num_requests == 1)
        with httpx.Client(base_url=server.url, timeout=30) as client:
            assert client.post("/v1/tag", json={"text": "a"}).status_code == 429
            assert client.post("/models/tagger", json={"inputs": "a"}).status_code == 429
        gate.set()
        thread.join()
        server.until(lambda: server.service.num_requests == 0)
        graphs.sequence_runner.fails_at = CHARACTERS.encode("z")[0]
        failed = server.client.post("/v1/tag", json={"text": "a z"})
        assert (failed.status_code, failed.json()["error"]["type"]) == (500, "engine_error")
        server.tag(text="a")
        assert 'rnnserve_requests_total{model="tagger/1",status="504"} 1.0' in server.client.get("/metrics").text


def test_the_answer_does_not_depend_on_the_neighbours(tagger: Running) -> None:
    rng = np.random.default_rng(3)

    async def ask(client: httpx.AsyncClient, fields: dict[str, Any]) -> dict[str, Any]:
        answer = await client.post("/v1/tag", json=fields)
        assert answer.status_code == 200, answer.text
        return without_id(answer.json())

    async def main() -> None:
        letters = list("to be or. not")
        requests = [
            {"text": ["x" + "".join(rng.choice(letters, rng.integers(1, 200))) for _ in range(rng.choice([1, 9]))]}
            for _ in range(64)
        ]
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=tagger.url, timeout=60, limits=limits) as client:
            together = await asyncio.gather(*(ask(client, fields) for fields in requests))
            for fields, answer in list(zip(requests, together, strict=True))[::3]:
                assert await ask(client, fields) == answer

    asyncio.run(main())
