"""/v1/completions, /v1/models, /tokenize and /detokenize, asked by OpenAI's own client over a real socket."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.server.running import BYTES, CHARACTERS, Running, fake_model, running

TEXT = "to be or not"


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(fake_model()) as instance:
        yield instance


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as found:
        yield found


def asked(client: openai.OpenAI, **fields: Any) -> Any:
    return client.completions.create(**{"model": "fake", "prompt": TEXT, "seed": 3, **fields})


def texts(answer: Any) -> list[str]:
    return [choice.text for choice in answer.choices]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": 0},
        {"n": 3},
        {"prompt": ["a", "to be"], "n": 2},
        {"stop": ["e", "to"]},
        {"echo": True},
        {"frequency_penalty": 1.5, "logit_bias": {"5": -100}},
        {"extra_body": {"top_k": 4, "min_p": 0.01, "repetition_penalty": 1.2, "min_tokens": 3}},
    ],
)
def test_it_answers_as_generate_does(client: openai.OpenAI, server: Running, fields: dict[str, Any]) -> None:
    found = asked(client, max_tokens=30, **fields)
    own = {name: value for name, value in fields.items() if name != "extra_body"} | fields.get("extra_body", {})
    wanted = server.generate(**{"prompt": TEXT, "seed": 3, "max_tokens": 30, **own})
    assert texts(found) == [choice["text"] for choice in wanted["choices"]]
    assert [choice.finish_reason for choice in found.choices] == [each["finish_reason"] for each in wanted["choices"]]
    assert (found.object, found.model, found.id[:5]) == ("text_completion", "fake/1", "cmpl-")
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    assert found.usage.completion_tokens == wanted["usage"]["completion_tokens"]
    assert all(choice.logprobs is None for choice in found.choices)


def test_null_is_the_default_and_unknown_fields_are_passed_over(client: openai.OpenAI, server: Running) -> None:
    plain = asked(client)
    assert plain.usage.completion_tokens <= 16
    body = {"model": None, "prompt": TEXT, "seed": 3, "max_tokens": None, "temperature": None, "stop": None}
    found = server.post("/v1/completions", **body, user="someone", skip_special_tokens=True, store=False)
    assert [choice["text"] for choice in found["choices"]] == texts(plain)
    assert asked(client, max_tokens=16).choices[0].text == plain.choices[0].text


def test_a_prompt_may_be_token_ids(client: openai.OpenAI) -> None:
    ids = CHARACTERS.encode(TEXT)
    assert texts(asked(client, prompt=ids)) == texts(asked(client))
    both = asked(client, prompt=[ids, CHARACTERS.encode("a")])
    assert texts(both) == texts(asked(client, prompt=[TEXT, "a"]))
    assert asked(client, prompt=ids, echo=True).choices[0].text.startswith(TEXT)


def test_best_of_gives_the_likeliest(client: openai.OpenAI) -> None:
    every = asked(client, n=6, logprobs=0, max_tokens=12)
    means = [sum(choice.logprobs.token_logprobs) / len(choice.logprobs.tokens) for choice in every.choices]
    best = [every.choices[i].text for i in sorted(range(6), key=lambda i: -means[i])][:2]
    found = asked(client, n=2, best_of=6, max_tokens=12)
    assert texts(found) == best
    assert [choice.index for choice in found.choices] == [0, 1]
    assert found.choices[0].logprobs is None
    assert found.usage.completion_tokens == every.usage.completion_tokens
    of_two = asked(client, prompt=[TEXT, "a"], best_of=4, max_tokens=12)
    assert [choice.index for choice in of_two.choices] == [0, 1]


@pytest.mark.parametrize("tokenizer", [CHARACTERS, BYTES], ids=["characters", "bytes"])
def test_a_prompt_is_scored(tokenizer: Any) -> None:
    """As likely as its tokens were when the model chose them."""
    with running(fake_model(tokenizer=tokenizer)) as own:
        made = own.generate(prompt=TEXT, max_tokens=9, min_tokens=9, seed=1, logprobs=3)["choices"][0]
        with openai.OpenAI(base_url=f"{own.url}/v1", api_key="none", max_retries=0) as client:
            ids = [*tokenizer.encode(TEXT), *_ids(tokenizer, made["logprobs"]["tokens"])]
            alone = asked(client, prompt=ids, max_tokens=0, echo=True, logprobs=3)
            several = asked(
                client,
                prompt=[tokenizer.encode("be or"), ids, tokenizer.encode("not so")],
                max_tokens=0,
                echo=True,
                logprobs=3,
            )
            longer = asked(client, prompt=ids, max_tokens=5, echo=True, logprobs=3)
            plain = asked(client, prompt=ids, max_tokens=5, logprobs=0)
    (choice,) = alone.choices
    assert choice.text == tokenizer.decode(ids)
    assert choice.finish_reason == "length"
    assert (choice.logprobs.token_logprobs[0], choice.logprobs.top_logprobs[0]) == (None, None)
    assert len(choice.logprobs.tokens) == len(choice.logprobs.text_offset) == len(ids)
    assert choice.logprobs.token_logprobs[-9:] == pytest.approx(made["logprobs"]["token_logprobs"], abs=1e-6)
    assert choice.logprobs.top_logprobs[-1] == pytest.approx(made["logprobs"]["top_logprobs"][-1], abs=1e-6)
    assert (alone.usage.prompt_tokens, alone.usage.completion_tokens) == (len(ids), 0)
    assert several.choices[1].logprobs == choice.logprobs
    assert longer.choices[0].logprobs.token_logprobs[: len(ids)] == choice.logprobs.token_logprobs
    assert longer.choices[0].logprobs.tokens == [*choice.logprobs.tokens, *plain.choices[0].logprobs.tokens]
    assert longer.usage.completion_tokens == plain.usage.completion_tokens


def _ids(tokenizer: Any, shown: list[str]) -> list[int]:
    contents = [
        bytes(each[6:], "ascii").decode("unicode_escape").encode("latin-1")
        if each.startswith("bytes:")
        else each.encode()
        for each in shown
    ]
    return [tokenizer.token_bytes.index(content) for content in contents]


@pytest.mark.parametrize(
    "fields", [{}, {"n": 2}, {"prompt": [TEXT, "a"], "logprobs": 2}, {"echo": True, "logprobs": 1}]
)
def test_a_stream_adds_up_to_the_whole(client: openai.OpenAI, fields: dict[str, Any]) -> None:
    whole = asked(client, max_tokens=25, **fields)
    found: dict[int, str] = {}
    tokens: dict[int, list[Any]] = {}
    usages = []
    for event in asked(client, max_tokens=25, stream=True, stream_options={"include_usage": True}, **fields):
        assert event.object == "text_completion"
        usages.append(event.usage)
        for choice in event.choices:
            found[choice.index] = found.get(choice.index, "") + choice.text
            if choice.logprobs is not None:
                tokens.setdefault(choice.index, []).extend(choice.logprobs.token_logprobs)
    assert [found[i] for i in sorted(found)] == texts(whole)
    assert (usages[-1], set(usages[:-1])) == (whole.usage, {None})
    if "logprobs" in fields:
        assert [tokens[i] for i in sorted(tokens)] == [choice.logprobs.token_logprobs for choice in whole.choices]
    plain = list(asked(client, max_tokens=25, stream=True, **fields))
    assert all(event.usage is None and event.choices for event in plain)


def test_a_beam_search_finds_the_likeliest_continuations(client: openai.OpenAI) -> None:
    search = {"use_beam_search": True, "length_penalty": 0.0}
    found = asked(client, max_tokens=1, n=4, extra_body=search)
    (likely,) = asked(client, max_tokens=1, n=1, temperature=0, logprobs=4).choices[0].logprobs.top_logprobs
    ranked = sorted(likely, key=likely.__getitem__, reverse=True)
    assert texts(found) == [text if not text.startswith("<") else "" for text in ranked]
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    assert found.usage.completion_tokens == 4
    long = {"max_tokens": 12, "extra_body": {**search, "ignore_eos": True}}
    (best,) = texts(asked(client, best_of=8, **long))
    (greedy,) = texts(asked(client, **long))
    assert len(best) == len(greedy) == 12
    assert _likelihood(client, best) >= _likelihood(client, greedy)
    assert texts(asked(client, prompt=["a", TEXT], n=2, best_of=8, **long))[2] == best
    assert texts(asked(client, echo=True, best_of=8, **long)) == [TEXT + best]


def _likelihood(client: openai.OpenAI, text: str) -> float:
    """Of a continuation of TEXT: the sum of its tokens' log-probabilities."""
    scored = asked(client, prompt=TEXT + text, max_tokens=0, echo=True, logprobs=0).choices[0].logprobs
    return float(sum(scored.token_logprobs[-len(text) :]))


def test_the_asynchronous_client_streams(server: Running, client: openai.OpenAI) -> None:
    async def main() -> str:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as own:
            stream = await own.completions.create(model="fake/1", prompt=TEXT, seed=3, stream=True)
            return "".join([event.choices[0].text async for event in stream])

    assert asyncio.run(main()) == asked(client).choices[0].text


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"temperature": 11}, "temperature: Input should be less than or equal to 10"),
        ({"prompt": ""}, "prompt: a prompt is empty"),
        ({"prompt": []}, "prompt: 0 prompts; 1 to 64 are allowed"),
        ({"prompt": [[1, 2], []]}, "prompt: a prompt is empty"),
        ({"prompt": ["a", 1]}, "prompt: must be a string, a list of strings, a list of token ids"),
        ({"prompt": ["a", [1]]}, "prompt: must be a string, a list of strings, a list of token ids"),
        ({"prompt": ["a", "☃☃"]}, "prompt 1 holds no character that the model knows"),
        ({"prompt": "☃", "max_tokens": 0, "echo": True}, "prompt holds no character that the model knows"),
        ({"prompt": [10_000]}, "prompt: the model has no token 10000; its ids are 0 to "),
        ({"suffix": "."}, "suffix: is not offered by recurrent models"),
        ({"n": 3, "best_of": 2}, "best_of is 2 and n 3"),
        ({"best_of": 2, "stream": True}, "best_of chooses once all is there"),
        ({"stream_options": {"include_usage": True}}, "stream_options goes with stream true"),
        ({"max_tokens": 0}, "max_tokens 0 scores the prompt"),
        ({"max_tokens": 0, "echo": True, "prompt": "a"}, "nothing comes before its only token"),
        ({"logprobs": 1, "echo": True, "presence_penalty": 1}, "is scored (echo with logprobs) without penalties"),
        ({"extra_body": {"use_beam_search": True}, "stop": "a"}, "use_beam_search goes without stop"),
        ({"extra_body": {"use_beam_search": True}, "logprobs": 1, "top_p": 0.5}, "goes without logprobs, top_p"),
        ({"extra_body": {"use_beam_search": True}, "stream": True}, "use_beam_search goes without stream"),
        ({"extra_body": {"length_penalty": 2.0}}, "length_penalty goes with use_beam_search"),
        ({"extra_body": {"ignore_eos": True, "stop": "a"}}, "ignore_eos goes without stop"),
        ({"extra_body": {"logprobs": "many"}}, "logprobs: Input should be a valid integer"),
    ],
)
def test_what_is_wrong_is_a_bad_request_with_a_sentence(
    client: openai.OpenAI, fields: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        asked(client, **fields)
    assert sentence in str(raised.value)
    assert raised.value.type == "invalid_request_error"


def test_each_failure_is_the_clients_own_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="Model 'other' not found"):
        asked(client, model="other")
    with pytest.raises(openai.NotFoundError, match="Model 'other' not found"):
        client.models.retrieve("other")
    with running(fake_model(), max_requests=1, api_keys="a key of sixteen") as own:
        own.client.headers["authorization"] = "Bearer a key of sixteen"
        stranger = openai.OpenAI(base_url=f"{own.url}/v1", api_key="another one", max_retries=0)
        with stranger, pytest.raises(openai.AuthenticationError, match="This server asks for an API key"):
            asked(stranger)
        with openai.OpenAI(base_url=f"{own.url}/v1", api_key="a key of sixteen", max_retries=0) as known:
            own.steps.gate = threading.Event()
            with pytest.raises(openai.InternalServerError, match="was not done after 50 ms") as late:
                asked(known, extra_headers={"x-request-timeout-ms": "50"})
            assert (late.value.status_code, late.value.response.headers["x-should-retry"]) == (504, "false")
            thread = threading.Thread(target=lambda: own.generate(prompt="a", max_tokens=1))
            thread.start()
            own.until(lambda: own.service.num_requests == 1)
            with pytest.raises(openai.RateLimitError, match="is full: 1 requests") as full:
                asked(known)
            assert full.value.response.headers["retry-after"] == "1"
            own.steps.gate.set()
            thread.join()


def test_the_end_token_is_not_chosen_with_ignore_eos(client: openai.OpenAI) -> None:
    found = asked(client, max_tokens=400, n=4, extra_body={"ignore_eos": True})
    assert found.usage.completion_tokens == 1600
    assert {choice.finish_reason for choice in found.choices} == {"length"}


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["fake"]
    assert client.models.retrieve("fake").id == client.models.retrieve("fake/1").id == "fake"


def test_texts_become_tokens_and_tokens_texts(server: Running) -> None:
    found = server.post("/tokenize", prompt=TEXT, return_token_strs=True, add_special_tokens=True)
    assert found == {
        "count": len(TEXT),
        "max_model_len": 32_768,
        "tokens": CHARACTERS.encode(TEXT),
        "token_strs": list(TEXT),
    }
    assert server.post("/detokenize", model="fake/1", tokens=found["tokens"]) == {"prompt": TEXT}
    assert server.post("/detokenize", tokens=[]) == {"prompt": ""}
    for path, body, sentence in (
        ("/tokenize", {"prompt": ""}, "prompt: String should have at least 1 character"),
        ("/detokenize", {"tokens": [10_000]}, "tokens: the model has no token 10000"),
        ("/detokenize", {}, "tokens is required."),
    ):
        answer = server.client.post(path, json=body)
        assert (answer.status_code, answer.json()["error"]["message"][: len(sentence)]) == (400, sentence)
    assert httpx.post(f"{server.url}/tokenize", json={"model": "other", "prompt": "a"}).status_code == 404
