"""POST /v1/translate as API.md says it, over a real socket."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from models.bundle import Experience
from models.decoding.beam_search import BeamSearch
from models.decoding.options import TranslationOptions
from server.api.translate import TranslateAnswer
from server.endpoint import LoadedModel
from tests.server.fake_runner import FakeAttentionStepRunner, FakeSequenceRunner
from tests.server.running import BYTES, CHARACTERS, Running, fake_classifier, fake_model, fake_translator, running

AS_IT_IS = {"split_sentences": False}
LONG = {"beam_size": 2, "max_tokens": 1024, "length_penalty": 5}  # goes on to the end


@pytest.fixture(scope="module")
def translator() -> Iterator[Running]:
    with running(fake_translator()) as instance:
        yield instance


@pytest.fixture(scope="module")
def bytes_translator() -> Iterator[Running]:
    with running(fake_translator(tokenizer=BYTES)) as instance:
        yield instance


def events_of(server: Running, **fields: Any) -> list[dict[str, Any]]:
    with server.client.stream("POST", "/v1/translate", json={**fields, "beam_size": 1, "stream": True}) as answer:
        assert answer.status_code == 200
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def without_id(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key not in ("id", "timings")}


def test_the_answer_has_the_shape_of_the_contract(translator: Running) -> None:
    answer = translator.translate(text="to be", source="en", target="zh", max_tokens=9)
    TranslateAnswer.model_validate(answer, strict=True, extra="forbid")
    assert list(answer) == ["id", "model", "source", "target", "translations", "usage"]
    assert (answer["model"], answer["source"], answer["target"]) == ("translator/1", "en", "zh")
    assert list(answer["translations"][0]) == ["text", "score", "finish_reason"]
    assert answer["usage"]["source_tokens"] == 5
    assert 1 <= answer["usage"]["target_tokens"] <= 9


def test_a_seed_gives_the_same_sampled_translation_again_alone_and_among_others(translator: Running) -> None:
    asked = {"beam_size": 1, "temperature": 2, "max_tokens": 40, "seed": 8}
    alone = translator.translate(text="to be", **asked)
    made = translator.translate(text="to be", **{**asked, "seed": None})
    again = translator.translate(text="to be", **{**asked, "seed": made["seed"]})
    assert without_id(made) == without_id(again)
    assert "seed" not in translator.translate(text="to be")
    assert without_id(alone) == without_id(translator.translate(text="to be", **asked))
    among = translator.translate(text=["or not", "to be"], **asked)
    assert among["translations"][1] == alone["translations"][0]
    others = {
        translator.translate(text="to be", **{**asked, "seed": seed})["translations"][0]["text"] for seed in range(3)
    }
    assert len(others | {alone["translations"][0]["text"]}) > 1


@pytest.mark.parametrize("fields", [{}, {"beam_size": 1}, {"beam_size": 7, "coverage_penalty": 0.5, "alternatives": 6}])
def test_the_translations_are_those_of_a_search_by_itself(translator: Running, fields: dict[str, Any]) -> None:
    fields = {"max_tokens": 12, "replace_unknown": False, **fields}
    (found,) = translator.translate(text="to be", **fields)["translations"]
    end = CHARACTERS.end_id
    assert end is not None
    tokens = [*CHARACTERS.encode("to be"), end]
    ids = np.zeros((1, 16), np.int64)
    ids[0, : len(tokens)] = tokens
    encoded = FakeSequenceRunner(0).run("encode", {"ids": ids, "lengths": np.array([len(tokens)], np.int32)})
    runner = FakeAttentionStepRunner(64, CHARACTERS.vocab_size)
    runner.put(0, encoded["state"][0], {name: encoded[name][0, : len(tokens)] for name in ("memory", "keys")})
    search = BeamSearch(TranslationOptions(**fields), end_id=end, source_length=len(tokens))
    parents = np.zeros(1, np.int64)
    while not search.is_over:
        logits = runner.step(search.tokens, parents)
        parents = search.advance(logits, runner.attention)
    expected = [{"text": CHARACTERS.decode(it.ids), "score": it.score} for it in search.results()]
    assert [{"text": found["text"], "score": found["score"]}, *found.get("alternatives", [])] == expected


def test_alternatives_are_distinct_and_sorted(translator: Running, bytes_translator: Running) -> None:
    for server in (translator, bytes_translator):
        (found,) = server.translate(text="to be or", beam_size=16, alternatives=15, max_tokens=10)["translations"]
        assert 1 < len(found["alternatives"]) <= 15
        texts = [found["text"], *(item["text"] for item in found["alternatives"])]
        scores = [found["score"], *(item["score"] for item in found["alternatives"])]
        assert len(set(texts)) == len(texts)
        assert scores == sorted(scores, reverse=True)


def test_several_texts_are_translated_in_their_order_as_each_alone(translator: Running) -> None:
    texts = ["to be", "or not", "x" * 40, "a"]
    together = translator.translate(text=texts, max_tokens=15)
    alone = [translator.translate(text=text, max_tokens=15) for text in texts]
    assert together["translations"] == [answer["translations"][0] for answer in alone]
    assert together["usage"] == {
        key: sum(answer["usage"][key] for answer in alone) for key in ("source_tokens", "target_tokens")
    }


def test_the_alignment_has_a_row_for_each_target_token_that_sums_to_1(
    translator: Running, bytes_translator: Running
) -> None:
    for server in (translator, bytes_translator):
        answer = server.translate(text="to 生😀", alignment=True, max_tokens=8, **AS_IT_IS, replace_unknown=False)
        TranslateAnswer.model_validate(answer, strict=True, extra="forbid")
        found = answer["translations"][0]
        alignment = found["alignment"]
        assert alignment["source_tokens"][-1] == "<eos>"
        weights = np.array(alignment["weights"])
        assert weights.shape == (len(alignment["target_tokens"]), len(alignment["source_tokens"]))
        assert np.allclose(weights.sum(axis=1), 1, atol=1e-6)
        assert len(alignment["target_tokens"]) == answer["usage"]["target_tokens"]
    names = translator.translate(text="to 生😀", alignment=True, **AS_IT_IS)["translations"][0]["alignment"]
    assert names["source_tokens"] == ["t", "o", " ", "生", "😀", "<eos>"]
    spelt = "".join(token for token in names["target_tokens"] if token != "<eos>")
    assert spelt == translator.translate(text="to 生😀", **AS_IT_IS)["translations"][0]["text"]


def test_unknown_words_are_replaced_by_what_they_attend_to_unless_told_otherwise(translator: Running) -> None:
    seen = 0
    for i in range(40):
        text = "abcdefghij"[i % 10 :] + "😀" * (i // 10 + 1)
        fields = {"text": text, "beam_size": 1, "max_tokens": 60, **AS_IT_IS}
        plain = translator.translate(**fields, replace_unknown=False, alignment=True)["translations"][0]
        replaced = translator.translate(**fields, alignment=True)["translations"][0]
        assert plain["score"] == replaced["score"]
        sources = replaced["alignment"]["source_tokens"][:-1]
        for before, after, weights in zip(
            plain["alignment"]["target_tokens"],
            replaced["alignment"]["target_tokens"],
            replaced["alignment"]["weights"],
            strict=True,
        ):
            if before == "\ufffd":
                seen += 1
                assert after == sources[int(np.argmax(weights[: len(sources)]))]
            else:
                assert after == before
        assert "\ufffd" not in replaced["text"]
    assert seen


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"max_tokens": 1},
        {"alignment": True},
        {"text": ["one in a list"]},
        {"temperature": 1.5, "seed": 3, "top_k": 9},
    ],
)
def test_a_stream_is_the_whole_answer_in_pieces(
    translator: Running, bytes_translator: Running, fields: dict[str, Any]
) -> None:
    for server in (translator, bytes_translator):
        for text in ("to be", "生存 is it 😀😀😀", "a"):
            asked = {"text": text, "max_tokens": 100, **fields}
            events = events_of(server, **asked)
            for event in events[:-1]:
                assert "usage" not in event
                assert event["translations"][0]["score"] is None
                assert event["translations"][0]["text"]
            whole = "".join(event["translations"][0]["text"] for event in events)
            last = {**events[-1], "translations": [{**events[-1]["translations"][0], "text": whole}]}
            assert without_id(last) == without_id(server.translate(**asked, beam_size=1))


def test_room_for_a_translation_is_what_the_model_was_trained_on() -> None:
    """A model that writes numbers in words needs many more tokens than twice its source's."""
    seen = Experience(longest_target_tokens=90)
    with running(replace(fake_translator(), experience=seen)) as server:
        reasons = set()
        for text in "abcdefgh":
            answer = server.translate(text=text, beam_size=1)
            (found,) = answer["translations"]
            reasons.add(found["finish_reason"])
            assert answer["usage"]["target_tokens"] <= 90
            if found["finish_reason"] == "length":
                assert answer["usage"]["target_tokens"] == 90
                assert found["warnings"][0]["code"] == "truncated"
        assert reasons == {"stop", "length"}


def test_more_sentences_than_a_request_may_have_are_refused_with_both_numbers() -> None:
    with running(fake_translator(), max_source_tokens=20_000) as server:
        answer = server.client.post("/v1/translate", json={"text": ["to be.\n" * 2500] * 2, "max_tokens": 1})
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "request_too_large")
        assert "have 5000 sentences together; at most 4096 are allowed" in answer.json()["error"]["message"]


BAD_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "text", "field_missing"),
    ({"text": ""}, "text", "field_invalid"),
    ({"text": []}, "text", "field_invalid"),
    ({"text": ["a", ""]}, "text", "field_invalid"),
    ({"text": ["a"] * 65}, "text", "field_invalid"),
    ({"text": 1}, "text", "field_invalid"),
    ({"text": None}, "text", "field_invalid"),
    ({"text": "a", "beam_size": 0}, "beam_size", "field_invalid"),
    ({"text": "a", "beam_size": 17}, "beam_size", "field_invalid"),
    ({"text": "a", "beam_size": "4"}, "beam_size", "field_invalid"),
    ({"text": "a", "beam_size": 2.5}, "beam_size", "field_invalid"),
    ({"text": "a", "length_penalty": -0.1}, "length_penalty", "field_invalid"),
    ({"text": "a", "length_penalty": 5.5}, "length_penalty", "field_invalid"),
    ({"text": "a", "coverage_penalty": True}, "coverage_penalty", "field_invalid"),
    ({"text": "a", "coverage_penalty": 6}, "coverage_penalty", "field_invalid"),
    ({"text": "a", "alternatives": 4}, "alternatives", "field_invalid"),
    ({"text": "a", "alternatives": -1}, "alternatives", "field_invalid"),
    ({"text": "a", "alternatives": 1, "beam_size": 1}, "alternatives", "field_invalid"),
    ({"text": "a", "max_tokens": 0}, "max_tokens", "field_invalid"),
    ({"text": "a", "max_tokens": 1025}, "max_tokens", "field_invalid"),
    ({"text": "a", "replace_unknown": 1}, "replace_unknown", "field_invalid"),
    ({"text": "a", "alignment": "yes"}, "alignment", "field_invalid"),
    ({"text": "a", "stream": True}, "stream", "field_invalid"),
    ({"text": ["a", "b"], "stream": True, "beam_size": 1}, "stream", "field_invalid"),
    ({"text": "a", "source": "english"}, "source", "field_invalid"),
    ({"text": "a", "target": "zh_"}, "target", "field_invalid"),
    ({"text": "a", "target": "zh-Hant"}, "target", "languages_not_served"),
    ({"text": "a", "split_sentences": 1}, "split_sentences", "field_invalid"),
    ({"text": "a", "source": "de"}, "source", "languages_not_served"),
    ({"text": "a", "target": "de"}, "target", "languages_not_served"),
    ({"text": "a", "model": "translator", "source": "zh", "target": "en"}, "source", "languages_not_served"),
    ({"text": "a", "model": 3}, "model", "field_invalid"),
    ({"text": "a", "temperature": 1}, "temperature", "field_invalid"),  # beam_size is 4
    ({"text": "a", "beam_size": 2, "top_k": 1}, "top_k", "field_invalid"),
    ({"text": "a", "beam_size": 4, "seed": 1}, "seed", "field_invalid"),
    ({"text": "a", "beam_size": 1, "temperature": 11}, "temperature", "field_invalid"),
    ({"text": "a", "beam_size": 1, "top_p": 0}, "top_p", "field_invalid"),
    ({"text": "a", "beam_size": 1, "seed": -1}, "seed", "field_invalid"),
    ({"text": "a", "prompt": "a"}, "prompt", "field_unknown"),
]


@pytest.mark.parametrize(("fields", "param", "code"), BAD_FIELDS)
def test_a_wrong_field_is_named(translator: Running, fields: dict[str, Any], param: str, code: str) -> None:
    answer = translator.client.post("/v1/translate", json=fields)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("field_error", param, code)
    assert param in error["message"] or code == "languages_not_served"


def test_combinations_that_cannot_be_are_refused_in_plain_sentences(translator: Running) -> None:
    for fields, words in (
        ({"stream": True}, "with beam_size 4 no word is certain before the end; stream with beam_size 1"),
        ({"stream": True, "beam_size": 1, "text": ["a", "b"]}, "one text can be streamed, not 2"),
        ({"alternatives": 3, "beam_size": 3}, "at most beam_size - 1, which is 2; raise beam_size"),
        ({"source": "fr"}, "The loaded models translate en to zh, not fr to any language."),
    ):
        error = translator.client.post("/v1/translate", json={"text": "a", **fields}).json()["error"]
        assert words in error["message"]


def test_a_text_over_the_limit_is_refused_with_both_numbers_before_any_model_work() -> None:
    with running(fake_translator(), max_source_tokens=100) as server:
        for length, found in ((101, "101"), (300_000, "at least 75000")):
            answer = server.client.post("/v1/translate", json={"text": ["a", "b" * length]})
            assert answer.status_code == 422
            assert answer.json()["error"]["param"] == "text"
            assert f"text 1 has {found}" in answer.json()["error"]["message"]
            assert "100 are allowed (RNNSERVE_MAX_SOURCE_TOKENS)" in answer.json()["error"]["message"]
        aligned = {"text": ["a" * 60, "b" * 60], "alignment": True}
        assert server.client.post("/v1/translate", json=aligned).json()["error"]["param"] == "alignment"
        assert not server.translator_steps.num_rows
        assert server.translate(text="b" * 100, max_tokens=1)["usage"]["source_tokens"] == 100


def test_a_text_of_50_000_words_is_refused(translator: Running, bytes_translator: Running) -> None:
    for server in (translator, bytes_translator):
        answer = server.client.post("/v1/translate", json={"text": "words, " * 50_000})
        assert answer.status_code == 422
        assert "1024 are allowed" in answer.json()["error"]["message"]


def test_a_beam_wider_than_the_batch_is_refused_with_both_numbers() -> None:
    with running(fake_translator(), max_rows=5) as server:
        answer = server.client.post("/v1/translate", json={"text": "a", "beam_size": 6})
        assert (answer.status_code, answer.json()["error"]["param"]) == (422, "beam_size")
        assert "beam_size 6 is more than the 5 rows" in answer.json()["error"]["message"]
        server.translate(text=["a", "b"], beam_size=5, max_tokens=5)


def test_the_model_is_chosen_by_name_by_languages_or_by_default() -> None:
    models: list[LoadedModel] = [
        fake_translator("en-zh", 1),
        fake_translator("en-zh", 2),
        fake_translator("zh-en", source="zh", target="en"),
        fake_translator("other-zh-en", source="zh", target="en"),
        fake_model("lm"),
    ]

    def chosen(server: Running, **fields: Any) -> str:
        model: str = server.translate(text="a", max_tokens=1, **fields)["model"]
        return model

    with running(*models) as server:
        assert chosen(server, model="en-zh") == chosen(server, source="en", target="zh") == "en-zh/2"
        assert chosen(server, target="zh") == "en-zh/2"
        assert chosen(server, model="en-zh/1", target="zh") == "en-zh/1"
        assert chosen(server, model="zh-en", source="zh") == "zh-en/1"
        for fields, status, param, words in (
            ({}, 422, "model", "3 translation models are loaded. Choices: en-zh/2, other-zh-en/1, zh-en/1"),
            ({"source": "zh"}, 422, "model", "Choices: other-zh-en/1, zh-en/1. Or set RNNSERVE_DEFAULT_TRANSLATION"),
            ({"source": "en", "target": "en"}, 422, "target", "translate en to zh, zh to en, not en to en"),
            ({"model": "en-zh", "source": "zh"}, 422, "source", "Model en-zh/2 translates en to zh, not zh to any"),
            ({"model": "lm"}, 422, "model", "Model 'lm' is for generation, not translation"),
            ({"model": "de-en"}, 404, "model", "Loaded translation models: en-zh/1, en-zh/2"),
        ):
            answer = server.client.post("/v1/translate", json={"text": "a", **fields})
            assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
            assert words in answer.json()["error"]["message"]
    with running(*models, default_translation="zh-en") as server:
        assert chosen(server) == chosen(server, source="zh") == "zh-en/1"
        assert chosen(server, source="en") == "en-zh/2"
    with running(fake_model("lm")) as server:
        answer = server.client.post("/v1/translate", json={"text": "a", "source": "en"})
        assert answer.status_code == 422
        assert "translate nothing" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("name", "model"), [("TRANSLATION", "lm"), ("SENTIMENT", "nowhere"), ("GENERATION", "c")])
def test_a_default_model_that_does_not_fit_fails_the_start(name: str, model: str) -> None:
    setting: dict[str, Any] = {f"default_{name.lower()}": model}
    with running(fake_model("lm"), fake_classifier("c"), **setting) as server:
        answer = server.client.get("/readyz")
        assert answer.status_code == 503
        assert f"RNNSERVE_DEFAULT_{name}: Model '{model}'" in answer.json()["error"]["message"]


def test_an_engine_failure_is_a_status_streamed_or_not() -> None:
    with running(fake_translator()) as server:
        server.translator_steps.fails_at = 4  # "abc" and the end token
        for fields in ({}, {"beam_size": 1, "stream": True}):
            answer = server.client.post("/v1/translate", json={"text": "abc", **fields})
            assert (answer.status_code, answer.json()["error"]["type"]) == (500, "engine_error")
        server.translate(text="ab", max_tokens=3)


def test_a_client_that_leaves_frees_its_rows_and_its_batch_mates_never_notice() -> None:
    with running(fake_translator(), max_rows=32) as server:
        server.translator_steps.seconds = 0.0005
        fields = {"text": ["to be", "or not"], "beam_size": 4, "max_tokens": 100, "length_penalty": 5}
        expected = server.translate(**fields)
        found: list[dict[str, Any]] = []
        staying = threading.Thread(target=lambda: found.append(server.translate(**fields)))
        server.translator_steps.gate = threading.Event()
        staying.start()
        with httpx.Client(base_url=server.url, timeout=30) as leaving:
            server.until(lambda: server.service.num_requests == 1)  # the one that stays
            server.ask_and_leave("/v1/translate", {"text": ["a", "b"], **LONG})
            server.translator_steps.gate.set()
            streamed = {"text": "abc", "beam_size": 1, "max_tokens": 1024, "stream": True}
            with leaving.stream("POST", "/v1/translate", json=streamed) as answer:
                next(answer.iter_lines())
        staying.join(30)
        assert without_id(found[0]) == without_id(expected)
        server.until(lambda: server.service.num_requests == 0)
        (served,) = server.service.registry.models
        server.until(lambda: served.engine.gauges.num_running == 0)
        assert 'rnnserve_requests_total{model="translator/1",status="499"}' in server.client.get("/metrics").text


def test_more_requests_than_permits_are_429_with_retry_after_and_permits_come_back() -> None:
    with running(fake_translator(), max_requests=2) as server:
        server.translator_steps.gate = threading.Event()
        answers: list[int] = []
        with httpx.Client(base_url=server.url, timeout=30) as client:
            threads = [
                threading.Thread(
                    target=lambda: answers.append(
                        client.post("/v1/translate", json={"text": "a", "max_tokens": 2}).status_code
                    )
                )
                for _ in range(2)
            ]
            for thread in threads:
                thread.start()
            server.until(lambda: server.service.num_requests == 2)
            refused = server.client.post("/v1/translate", json={"text": "a"})
            server.translator_steps.gate.set()
            for thread in threads:
                thread.join()
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert answers == [200, 200]
        for _ in range(4):
            server.translate(text="a", max_tokens=1)
            assert server.client.post("/v1/translate", json={"text": "a" * 2000}).status_code == 422


def test_draining_refuses_and_a_stopped_engine_is_503() -> None:
    with running(fake_translator()) as server:
        (served,) = server.service.registry.models
        served.engine.stop(5)
        answer = server.client.post("/v1/translate", json={"text": "a"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
        server.service.phase = "draining"
        answer = server.client.post("/v1/translate", json={"text": "a"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")


def test_the_answer_does_not_depend_on_the_neighbours(translator: Running, bytes_translator: Running) -> None:
    rng = np.random.default_rng(3)

    async def ask(client: httpx.AsyncClient, fields: dict[str, Any]) -> dict[str, Any]:
        answer = await client.post("/v1/translate", json=fields)
        assert answer.status_code == 200, answer.text
        return without_id(answer.json())

    async def main(where: Running) -> None:
        requests = []
        for _ in range(64):
            beam_size = int(rng.choice([1, 1, 2, 4, 16]))
            texts = [
                "".join(rng.choice(list("to be or not生存😀"), rng.integers(1, 60))) for _ in range(rng.choice([1, 3]))
            ]
            requests.append(
                {
                    "text": texts,
                    "beam_size": beam_size,
                    "alternatives": int(rng.integers(0, beam_size)),
                    "max_tokens": int(rng.integers(1, 25)),
                    "alignment": bool(rng.random() < 0.3),
                }
            )
        async with httpx.AsyncClient(base_url=where.url, timeout=60, limits=httpx.Limits(max_connections=64)) as client:
            together = await asyncio.gather(*(ask(client, fields) for fields in requests))
            for fields, answer in list(zip(requests, together, strict=True))[::3]:
                assert await ask(client, fields) == answer

    for where in (translator, bytes_translator):
        asyncio.run(main(where))
