"""/models/MODEL and / in Hugging Face's task JSON, asked by huggingface_hub's own clients over a real socket."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import (
    GenerationError,
    HfHubHTTPError,
    OverloadedError,
    UnknownError,
    ValidationError,
)

from tests.server.running import (
    BYTES,
    CHARACTERS,
    Running,
    fake_classifier,
    fake_model,
    fake_set,
    fake_tagger,
    fake_translator,
    running,
)

TEXT = "to be, or not to be. that is so!"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(fake_model(), fake_classifier(), fake_translator(), fake_tagger()) as instance:
        yield instance


def client_of(server: Running, model: str) -> InferenceClient:
    return InferenceClient(model=f"{server.url}/models/{model}")


def test_text_classification_gives_the_labels_best_first(server: Running) -> None:
    scores = server.classify(text="to be", all_scores=True)["results"][0]["scores"]
    client = client_of(server, "classifier")
    found = client.text_classification("to be")
    assert [(item.label, item.score) for item in found] == sorted(scores.items(), key=lambda item: -item[1])
    assert [item.label for item in client.text_classification("to be", top_k=1)] == [found[0].label]
    logits = {item.label: item.score for item in client.text_classification("to be", function_to_apply="none")}
    each = {item.label: item.score for item in client.text_classification("to be", function_to_apply="sigmoid")}
    for label in scores:
        assert each[label] == pytest.approx(1 / (1 + np.exp(-logits[label])))
        assert scores[label] == pytest.approx(np.exp(logits[label]) / sum(np.exp(list(logits.values()))))
    both = server.client.post("/models/classifier/1", json={"inputs": ["to be", "a"]}).json()
    assert both[0] == [{"label": item.label, "score": item.score} for item in found]
    assert len(both) == 2


def test_token_classification_gives_tokens_and_groups(server: Running) -> None:
    client = client_of(server, "tagger/1")
    (native,) = server.tag(text=TEXT)["results"]
    for strategy in ("simple", "first", "max"):
        found = client.token_classification(TEXT, aggregation_strategy=strategy)
        (own,) = server.tag(text=TEXT, aggregation=strategy)["results"]
        assert [(item.entity_group, item.start, item.end, item.score, item.word) for item in found] == [
            (span["label"], span["start"], span["end"], span["score"], span["text"]) for span in own["spans"]
        ]
    tokens = client.token_classification(TEXT, ignore_labels=[])
    (own,) = server.tag(text=TEXT, aggregation="none")["results"]
    assert [(item.entity, item.start, item.end, item.score) for item in tokens] == [
        (token["label"], token["start"], token["end"], token["score"]) for token in own["tokens"]
    ]
    assert "O" in {token["label"] for token in native["tokens"]}
    assert "O" not in {item.entity for item in client.token_classification(TEXT)}


def test_of_several_inputs_each_has_its_list(server: Running) -> None:
    for inputs in ("to be", ["to be"], ["to be", "or not"]):
        answer = server.client.post("/models/tagger", json={"inputs": inputs}).json()
        assert isinstance(answer, list)
        if isinstance(inputs, list):
            assert len(answer) == len(inputs)
            assert all(isinstance(item, list) for item in answer)


def test_translation_is_that_of_the_native_path(server: Running) -> None:
    client = client_of(server, "translator")
    native = server.translate(text="to be")["translations"][0]["text"]
    assert client.translation("to be").translation_text == native
    assert client.translation("to be", src_lang="en", tgt_lang="zh").translation_text == native
    greedy = server.translate(text="to be", beam_size=1, max_tokens=5)["translations"][0]["text"]
    found = client.translation("to be", generate_parameters={"num_beams": 1, "max_new_tokens": 5})
    assert found.translation_text == greedy
    drawn = server.translate(text="to be", beam_size=1, temperature=1.0, seed=4)["translations"][0]["text"]
    assert client.translation("to be", generate_parameters={"do_sample": True, "seed": 4}).translation_text == drawn
    both = server.client.post("/models/translator", json={"inputs": ["to be", "or not"]}).json()
    assert [item["translation_text"] for item in both] == [
        item["text"] for item in server.translate(text=["to be", "or not"])["translations"]
    ]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({}, {"temperature": 0}),
        ({"do_sample": True}, {}),
        ({"temperature": 0.7}, {"temperature": 0.7}),
        ({"do_sample": True, "top_k": 5, "top_p": 0.9}, {"top_k": 5, "top_p": 0.9}),
        ({"stop": ["e", "to"], "do_sample": True}, {"stop": ["e", "to"]}),
        (
            {"frequency_penalty": 1.0, "repetition_penalty": 1.2},
            {"frequency_penalty": 1.0, "repetition_penalty": 1.2, "temperature": 0},
        ),
        ({"return_full_text": True}, {"temperature": 0, "echo": True}),
    ],
)
def test_generated_text_is_that_of_the_native_path(
    server: Running, theirs: dict[str, Any], ours: dict[str, Any]
) -> None:
    client = client_of(server, "fake")
    (own,) = server.generate(prompt=TEXT, seed=3, max_tokens=30, **ours)["choices"]
    arguments = {"max_new_tokens": 30, "seed": 3, **theirs}
    assert client.text_generation(TEXT, **arguments) == own["text"]
    details = client.text_generation(TEXT, details=True, **arguments)
    assert details.generated_text == own["text"]
    pieces = list(client.text_generation(TEXT, stream=True, **arguments))
    echo = TEXT if theirs.get("return_full_text") else ""
    assert echo + "".join(pieces) == own["text"]


def test_max_new_tokens_is_100_by_default(server: Running) -> None:
    found = server.client.post("/models/fake", json={"inputs": "a", "parameters": {"details": True}}).json()[0]
    assert 90 < found["details"]["generated_tokens"] <= 100 or found["details"]["finish_reason"] == "eos_token"


@pytest.fixture(scope="module", params=[CHARACTERS, BYTES], ids=["characters", "bytes"])
def generator(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(fake_model(tokenizer=request.param)) as instance:
        yield instance


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("stop", [(), ("e", "o b"), ("\n",)])
def test_details_have_each_token_and_streams_an_event_for_each(
    generator: Running, seed: int, stop: tuple[str, ...]
) -> None:
    client = client_of(generator, "fake")
    arguments: dict[str, Any] = {"max_new_tokens": 20, "do_sample": True, "seed": seed, "stop": list(stop)}
    whole = client.text_generation(TEXT, details=True, top_n_tokens=2, **arguments)
    native = generator.generate(prompt=TEXT, seed=seed, max_tokens=20, stop=list(stop), logprobs=2)
    (choice,) = native["choices"]
    details = whole.details
    assert details is not None
    assert details.seed == seed
    assert details.generated_tokens == native["usage"]["completion_tokens"]
    reasons = {"length": "length", "stop": "eos_token" if choice["stop_reason"] is None else "stop_sequence"}
    assert details.finish_reason == reasons[choice["finish_reason"]]
    tokens = [token for token in details.tokens if not token.special]
    assert "".join(token.text for token in tokens) == whole.generated_text == choice["text"]
    assert [token.logprob for token in tokens] == pytest.approx(choice["logprobs"]["token_logprobs"])
    assert details.top_tokens is not None
    assert all(top[0]["logprob"] >= top[1]["logprob"] for top in json.loads(json.dumps(details.top_tokens)) if top)
    events = list(client.text_generation(TEXT, details=True, stream=True, **arguments))
    assert [event.index for event in events] == list(range(1, len(events) + 1))
    assert [(event.token.id, event.token.text, event.token.special) for event in events if event.token.text] == [
        (token.id, token.text, token.special) for token in details.tokens if token.text
    ]
    assert [event.generated_text for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1].generated_text == whole.generated_text
    last = events[-1].details
    assert last is not None
    assert (last.finish_reason, last.generated_tokens) == (details.finish_reason, details.generated_tokens)
    assert (last.seed, last.input_length) == (seed, native["usage"]["prompt_tokens"])


def test_a_stream_is_one_of_events_without_an_end_mark(server: Running) -> None:
    body = {"inputs": TEXT, "parameters": {"max_new_tokens": 5}, "stream": True}
    answer = server.client.post("/models/fake", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
    assert len(events) == 5
    assert set(events[0]) == {"index", "token", "generated_text", "details"}


def test_best_of_answers_with_the_likeliest_and_shows_the_others(server: Running) -> None:
    client = client_of(server, "fake")
    found = client.text_generation("to", details=True, best_of=4, do_sample=True, seed=5, max_new_tokens=9)
    native = server.generate(prompt="to", n=4, seed=5, max_tokens=9, logprobs=0)["choices"]
    means = {choice["text"]: np.mean(choice["logprobs"]["token_logprobs"]) for choice in native}
    order = sorted(means, key=lambda text: -means[text])
    assert found.details is not None
    assert found.details.best_of_sequences is not None
    assert [found.generated_text, *(item.generated_text for item in found.details.best_of_sequences)] == order
    assert client.text_generation("to", best_of=4, do_sample=True, seed=5, max_new_tokens=9) == order[0]


def test_the_beginning_of_a_long_text_is_cut(server: Running) -> None:
    client = client_of(server, "fake")
    found = client.text_generation("or not to be", truncate=5, max_new_tokens=9)
    assert found == server.generate(prompt="to be", temperature=0, max_tokens=9)["choices"][0]["text"]


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("tagger", {}, "inputs is required."),
    ("tagger", {"inputs": 3}, "inputs: must be a string or a list of strings"),
    ("tagger", {"inputs": " "}, "inputs holds no word"),
    ("tagger", {"inputs": ["a"] * 257}, "inputs: 257 strings; 1 to 256"),
    ("tagger", {"inputs": "a", "parameters": {"aggregation_strategy": "average"}}, "aggregation_strategy: "),
    ("tagger", {"inputs": "a", "parameters": {"ignore_labels": "O"}}, "ignore_labels: "),
    ("tagger", {"inputs": "a", "parameters": []}, "parameters: "),
    ("tagger", {"inputs": "a", "stream": True}, "stream: a model for token-classification answers in one piece"),
    ("tagger", {"inputs": "a", "model": "tagger"}, "Unknown field 'model'."),
    ("classifier", {"inputs": "a", "parameters": {"top_k": 0}}, "top_k: "),
    ("classifier", {"inputs": "a", "parameters": {"temperature": 1}}, "Unknown field 'temperature'. Fields: function"),
    ("classifier", {"inputs": "b" * 8193}, "inputs has 8193 tokens; at most 8192"),
    ("translator", {"inputs": "a", "parameters": {"src_lang": "de"}}, "not de to"),
    ("translator", {"inputs": "a", "parameters": {"truncation": "longest_first"}}, "truncation: "),
    ("translator", {"inputs": "a", "parameters": {"generate_parameters": {"num_beams": 17}}}, "num_beams: "),
    (
        "translator",
        {"inputs": "a", "parameters": {"generate_parameters": {"temperature": 1}}},
        "temperature: tokens are",
    ),
    ("translator", {"inputs": ["a"] * 65}, "inputs: 65 texts; 1 to 64"),
    ("fake", {"inputs": ["a", "b"]}, "inputs: must be one string"),
    ("fake", {"inputs": "a", "parameters": {"max_new_tokens": 0}}, "max_new_tokens: "),
    ("fake", {"inputs": "a", "parameters": {"grammar": {"type": "regex", "value": "a"}}}, "grammar: is not offered"),
    ("fake", {"inputs": "a", "parameters": {"best_of": 2}}, "best_of chooses among texts that are drawn"),
    ("fake", {"inputs": "a", "parameters": {"seed": -1}}, "seed: "),
]


@pytest.mark.parametrize(("model", "fields", "words"), BAD)
def test_a_wrong_field_is_named(server: Running, model: str, fields: dict[str, Any], words: str) -> None:
    answer = server.client.post(f"/models/{model}", json=fields)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "error_type"}
    assert answer.json()["error_type"] == "validation"
    assert answer.json()["error"].startswith(words) or words in answer.json()["error"]


def test_each_error_is_the_clients_own_with_our_message(server: Running) -> None:
    with pytest.raises(
        HfHubHTTPError, match=r"Model 'nobody' not found\. Addresses of those loaded: /models/classifier"
    ):
        client_of(server, "nobody").text_classification("a")
    with pytest.raises(HfHubHTTPError, match="top_k: "):
        client_of(server, "classifier").text_classification("a", top_k=0)
    with pytest.raises(ValidationError, match=r"temperature: .*got 11"):
        client_of(server, "fake").text_generation("a", temperature=11.0)
    with pytest.raises(ValidationError, match=r"temperature: .*got 11"):
        list(client_of(server, "fake").text_generation("a", temperature=11.0, stream=True))
    with pytest.raises(UnknownError, match="Model 'nobody' not found"):
        client_of(server, "nobody").text_generation("a")
    answer = server.client.post("/models/fake", content=b"{")
    assert (answer.status_code, answer.json()["error_type"]) == (400, "validation")
    assert server.client.get("/models/fake").status_code == 405


def test_overload_failure_and_deadline_have_their_types() -> None:
    with running(fake_model(), fake_classifier(), max_requests=1, default_generation="fake") as own:
        steps = fake_set(own.models["fake/1"]).step_runner
        gate = steps.gate = threading.Event()
        client = client_of(own, "fake")
        thread = threading.Thread(target=lambda: own.generate(prompt="a", max_tokens=3))
        thread.start()
        own.until(lambda: own.service.num_requests == 1)
        with pytest.raises(OverloadedError, match="Model fake/1 is full: 1 requests"):
            client.text_generation("a")
        for path in ("/", "/models/fake", "/models/fake/1"):  # no body is read for a full model
            refused = httpx.post(f"{own.url}{path}", content=b"not looked at", timeout=30)
            assert (refused.status_code, refused.json()["error_type"]) == (429, "overloaded")
        for path in ("fake/infer", "fake/generate", "fake/versions/1/generate_stream"):
            refused = httpx.post(f"{own.url}/v2/models/{path}", content=b"not looked at", timeout=30)
            assert (refused.status_code, list(refused.json())) == (429, ["error"])
        assert client_of(own, "classifier").text_classification("a")
        gate.set()
        thread.join()
        steps.seconds = 0.1
        late = own.client.post(
            "/models/fake",
            json={"inputs": "a", "parameters": {"max_new_tokens": 4000}},
            headers={"x-request-timeout-ms": "30"},
        )
        assert (late.status_code, late.json()["error_type"]) == (504, "deadline_exceeded")
        steps.seconds = 0.0
        steps.fails_at = CHARACTERS.encode("z")[0]
        with pytest.raises(GenerationError, match="The model failed while it ran"):
            client.text_generation("z", max_new_tokens=2)


def test_a_stream_that_fails_ends_with_an_error_of_the_client() -> None:
    with running(fake_model()) as own:
        text = own.generate(prompt="a", seed=2, max_tokens=40)["choices"][0]["text"]
        place = next(i for i in range(3, len(text)) if text[i] not in "a" + text[:i])
        own.steps.fails_at = CHARACTERS.encode(text[place])[0]
        client, pieces = client_of(own, "fake"), list[str]()
        events = client.text_generation("a", stream=True, do_sample=True, seed=2, max_new_tokens=40)
        with pytest.raises(GenerationError, match="The model failed while it ran"):
            pieces.extend(piece for piece in events)
        assert text.startswith("".join(pieces))
        assert len(pieces) >= place


def test_the_asynchronous_client_gets_the_same(server: Running) -> None:
    async def main() -> None:
        async with AsyncInferenceClient(model=f"{server.url}/models/fake") as client:
            whole = await client.text_generation(TEXT, max_new_tokens=12, do_sample=True, seed=9)
            events = await client.text_generation(TEXT, max_new_tokens=12, do_sample=True, seed=9, stream=True)
            assert "".join([piece async for piece in events]) == whole
            address = f"{server.url}/models"
            labels = await client.text_classification("a", model=f"{address}/classifier")
            assert labels == client_of(server, "classifier").text_classification("a")
            assert await client.token_classification("a b", model=f"{address}/tagger")
            translation = await client.translation("to be", model=f"{address}/translator")
            assert translation == client_of(server, "translator").translation("to be")
            with pytest.raises(ValidationError, match="max_new_tokens"):
                await client.text_generation(TEXT, max_new_tokens=0)
            with pytest.raises(HfHubHTTPError, match="not found"):
                await client.translation("a", model=f"{address}/nobody")

    asyncio.run(main())


def test_at_the_root_one_model_or_one_default_answers(server: Running) -> None:
    answer = server.client.post("/", json={"inputs": "a"})
    assert answer.status_code == 422
    assert answer.json() == {
        "error": "/ has 4 models to choose from. Send the request to the address of one: "
        "/models/classifier, /models/fake, /models/tagger, /models/translator.",
        "error_type": "validation",
    }
    with running(fake_classifier()) as own:
        assert InferenceClient(model=own.url).text_classification("a")
    with running(fake_classifier(), fake_model(), default_generation="fake") as own:
        assert InferenceClient(model=own.url).text_generation("a", max_new_tokens=3)


def test_keys_and_body_limits_hold(server: Running) -> None:
    with running(fake_classifier(), api_keys=("0123456789abcdef",), max_body_bytes=1024) as own:
        for path in ("/", "/models/classifier", "/predict"):
            refused = own.client.post(path, json={"inputs": "a"})
            assert (refused.status_code, set(refused.json())) == (401, {"error", "error_type"})
            headers = {"authorization": "Bearer 0123456789abcdef"}
            large = own.client.post(path, json={"inputs": "a" * 2000}, headers=headers)
            assert (large.status_code, set(large.json())) == (413, {"error", "error_type"})
        assert own.client.get("/info").status_code == 401
        client = InferenceClient(model=f"{own.url}/models/classifier", token="0123456789abcdef")
        assert client.text_classification("a")
        with pytest.raises(HfHubHTTPError, match="asks for an API key"):
            InferenceClient(model=f"{own.url}/models/classifier", token="wrong").text_classification("a")
