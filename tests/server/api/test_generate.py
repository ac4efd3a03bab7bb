"""POST /v1/generate as API.md says it, over a real socket."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from server.api.generate import GenerateAnswer
from tests.server.running import BYTES, CHARACTERS, Running, fake_model, running

MIXED: list[dict[str, Any]] = [{}, {"top_k": 5}, {"top_p": 0.8}, {"temperature": 0}, {"stop": ["e", "to"]}]
UNENDING = {"max_tokens": 4096, "min_tokens": 4096}


@pytest.fixture(scope="module")
def bytes_server() -> Iterator[Running]:
    with running(fake_model(tokenizer=BYTES)) as instance:
        yield instance


def streamed(server: Running, **fields: Any) -> list[Any]:
    """The data of each event of a stream."""
    with server.client.stream("POST", "/v1/generate", json={**fields, "stream": True}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    return [line.removeprefix("data: ") for line in lines]


def whole_of(events: list[Any]) -> dict[str, Any]:
    """The answer that a stream's events add up to."""
    assert events[-1] == "[DONE]"
    parsed = [json.loads(event) for event in events[:-1]]
    choices: dict[int, dict[str, Any]] = {}
    for event in parsed:
        assert ("usage" in event) == (event is parsed[-1])
        for choice in event["choices"]:
            before = choices.get(choice["index"], {"text": "", "finish_reason": None})
            assert before["finish_reason"] is None
            joined = {**choice, "text": before["text"] + choice["text"]}
            if "logprobs" in choice:
                earlier = before.get("logprobs") or {name: [] for name in choice["logprobs"]}
                joined["logprobs"] = {name: earlier[name] + new for name, new in choice["logprobs"].items()}
            choices[choice["index"]] = joined
    return {**parsed[-1], "choices": [choices[index] for index in sorted(choices)]}


def without_id(answer: dict[str, Any]) -> dict[str, Any]:
    usage = {key: value for key, value in answer["usage"].items() if key != "cached_tokens"}
    return {**{key: value for key, value in answer.items() if key not in ("id", "timings")}, "usage": usage}


def test_the_answer_has_the_shape_of_the_contract(server: Running) -> None:
    answer = server.generate(prompt="to be", max_tokens=5, min_tokens=5, seed=3)
    GenerateAnswer.model_validate(answer, strict=True, extra="forbid")
    assert list(answer) == ["id", "model", "seed", "choices", "usage"]
    assert (answer["model"], answer["seed"]) == ("fake/1", 3)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 5,
        "cached_tokens": 0,
        "unknown_characters": 0,
    }


def test_a_seed_is_made_returned_and_gives_the_same_answer_again(server: Running) -> None:
    first = server.generate(prompt="to be", max_tokens=30)
    again = server.generate(prompt="to be", max_tokens=30, seed=first["seed"])
    assert without_id(first) == without_id(again)
    assert first["id"] != again["id"]
    assert server.generate(prompt="to be")["seed"] != first["seed"]


def test_choices_of_prompt_p_sample_k_have_index_p_n_k_and_are_those_of_the_prompt_alone(server: Running) -> None:
    prompts = ["to be", "or", "not to be"]
    together = server.generate(prompt=prompts, n=3, seed=9, max_tokens=12)
    assert [choice["index"] for choice in together["choices"]] == list(range(9))
    for p, prompt in enumerate(prompts):
        alone = server.generate(prompt=prompt, n=3, seed=9, max_tokens=12)
        assert [{**c, "index": c["index"] + 3 * p} for c in alone["choices"]] == together["choices"][3 * p : 3 * p + 3]
    assert together["usage"]["prompt_tokens"] == sum(map(len, prompts))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"n": 4},
        {"stop": ["a", "be", "生存"]},
        {"stop": "\ufffd", "n": 3},
        {"temperature": 0},
        {"prompt": ["one prompt in a list"]},
        {"max_tokens": 1},
        {"echo": True, "stop": "to"},
        {"logprobs": 2},
        {"logprobs": 0, "stop": ["a", "生存", "\ufffd"], "echo": True, "n": 2},
        {"repetition_penalty": 1.5, "presence_penalty": 1, "logit_bias": {"3": 5}},
    ],
)
def test_a_stream_is_the_whole_answer_in_pieces(server: Running, bytes_server: Running, fields: dict[str, Any]) -> None:
    for where in (server, bytes_server):
        asked = {"prompt": "to be 生存", "max_tokens": 60, "seed": 4, **fields}
        assert without_id(whole_of(streamed(where, **asked))) == without_id(where.generate(**asked))


def test_a_stop_string_ends_the_text_and_is_named(server: Running) -> None:
    asked = {"prompt": "to be", "seed": 2, "max_tokens": 40, "min_tokens": 12}
    plain = server.generate(**asked)["choices"][0]["text"]
    stop = plain[10:12]
    choice = server.generate(**asked, stop=[stop, "never!!"])["choices"][0]
    assert choice["text"] == plain[:10]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", stop)


def test_logprobs_place_each_token_in_the_text(server: Running, bytes_server: Running) -> None:
    for where in (server, bytes_server):
        asked = {"prompt": "to be", "max_tokens": 50, "min_tokens": 50, "seed": 5, "logprobs": 3, "echo": True}
        choice = where.generate(**asked)["choices"][0]
        found = choice["logprobs"]
        assert len({len(found[name]) for name in found}) == 1
        assert choice["text"].startswith("to be")
        assert found["text_offset"][0] == 5
        assert found["text_offset"] == sorted(found["text_offset"])
        for token, logprob, top, offset in zip(*found.values(), strict=True):
            if not token.startswith("bytes:"):
                # Bytes of no character, which random text has, wait as U+FFFD for the token that follows them.
                assert 0 <= choice["text"].find(token, offset) - offset <= (0 if where is server else 3)
            assert logprob <= 0
            assert len(top) == 3
            assert list(top.values()) == sorted(top.values(), reverse=True)
            assert logprob == top.get(token, logprob)


def test_a_forbidden_token_is_not_chosen_and_a_favoured_one_is(server: Running) -> None:
    asked = {"prompt": "to be", "max_tokens": 30, "min_tokens": 30, "seed": 5}
    a = CHARACTERS.encode("a")[0]
    assert set(server.generate(**asked, logit_bias={str(a): 100})["choices"][0]["text"]) == {"a"}
    often = server.generate(**asked, temperature=2)["choices"][0]["text"]
    letter = max(often, key=often.count)
    banned = {str(CHARACTERS.encode(letter)[0]): -100}
    assert letter not in server.generate(**asked, temperature=2, logit_bias=banned)["choices"][0]["text"]


@pytest.mark.parametrize("penalty", [5e-324, 1e-38, 10])
def test_the_ends_of_a_penaltys_range_are_answered(server: Running, penalty: float) -> None:
    asked = {"prompt": "to be", "max_tokens": 20, "min_tokens": 20, "repetition_penalty": penalty}
    for temperature in (0, 1):
        assert len(server.generate(**asked, temperature=temperature)["choices"][0]["text"]) == 20


def test_unknown_characters_are_counted_and_all_unknown_is_refused(server: Running, bytes_server: Running) -> None:
    answer = server.generate(prompt="to 😀 be 😀", max_tokens=1)
    assert answer["usage"]["unknown_characters"] == 2
    refused = server.client.post("/v1/generate", json={"prompt": ["ok", "😀😀"]})
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == "prompt"
    assert "prompt 1" in refused.json()["error"]["message"]
    assert bytes_server.generate(prompt="😀", max_tokens=1)["usage"]["unknown_characters"] == 0


BAD_FIELDS: list[tuple[dict[str, Any], str | None, str]] = [
    ({}, "prompt", "field_missing"),
    ({"prompt": ""}, "prompt", "field_invalid"),
    ({"prompt": []}, "prompt", "field_invalid"),
    ({"prompt": ["a", ""]}, "prompt", "field_invalid"),
    ({"prompt": ["a"] * 65}, "prompt", "field_invalid"),
    ({"prompt": 1}, "prompt", "field_invalid"),
    ({"prompt": None}, "prompt", "field_invalid"),
    ({"prompt": [["a"]]}, "prompt", "field_invalid"),
    ({"prompt": "a", "max_tokens": 0}, "max_tokens", "field_invalid"),
    ({"prompt": "a", "max_tokens": 4097}, "max_tokens", "field_invalid"),
    ({"prompt": "a", "max_tokens": "5"}, "max_tokens", "field_invalid"),
    ({"prompt": "a", "max_tokens": 5, "min_tokens": 6}, "min_tokens", "field_invalid"),
    ({"prompt": "a", "temperature": -0.1}, "temperature", "field_invalid"),
    ({"prompt": "a", "temperature": True}, "temperature", "field_invalid"),
    ({"prompt": "a", "top_p": 0}, "top_p", "field_invalid"),
    ({"prompt": "a", "top_k": -1}, "top_k", "field_invalid"),
    ({"prompt": "a", "top_k": 1.5}, "top_k", "field_invalid"),
    ({"prompt": "a", "min_p": 1.1}, "min_p", "field_invalid"),
    ({"prompt": "a", "stop": ["x"] * 17}, "stop", "field_invalid"),
    ({"prompt": "a", "n": 17}, "n", "field_invalid"),
    ({"prompt": "a", "seed": -1}, "seed", "field_invalid"),
    ({"prompt": "a", "seed": 2**63}, "seed", "field_invalid"),
    ({"prompt": "a", "seed": 2**64}, "seed", "field_invalid"),
    ({"prompt": "a", "stream": 1}, "stream", "field_invalid"),
    ({"prompt": ["a", "b"], "stream": True}, "stream", "field_invalid"),
    ({"prompt": "a", "model": 3}, "model", "field_invalid"),
    ({"prompt": "a", "logprobs": 21}, "logprobs", "field_invalid"),
    ({"prompt": "a", "session": "x", "n": 2}, "session", "field_invalid"),
    ({"prompt": ["a", "b"], "session": "x"}, "session", "field_invalid"),
    ({"prompt": "a", "echo": 1}, "echo", "field_invalid"),
    ({"prompt": "a", "repetition_penalty": 0}, "repetition_penalty", "field_invalid"),
    ({"prompt": "a", "presence_penalty": 2.1}, "presence_penalty", "field_invalid"),
    ({"prompt": "a", "frequency_penalty": -3}, "frequency_penalty", "field_invalid"),
    ({"prompt": "a", "logit_bias": [1]}, "logit_bias", "field_invalid"),
    ({"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias", "field_invalid"),
    ({"prompt": "a", "logit_bias": {"-1": 1}}, "logit_bias", "field_invalid"),
    ({"prompt": "a", "logit_bias": {"1": 101}}, "logit_bias", "field_invalid"),
    ({"prompt": "a", "logit_bias": {"1": 1, "01": 2}}, "logit_bias", "field_invalid"),
    ({"prompt": "a", "logit_bias": {"1": True}}, "logit_bias", "field_invalid"),
    ({"prompt": "a", "logit_bias": {str(i): 1 for i in range(301)}}, "logit_bias", "field_invalid"),
    ({"prompt": "a", "logit_bias": {"9999": 1}}, "logit_bias", "field_invalid"),
]


@pytest.mark.parametrize(("fields", "param", "code"), BAD_FIELDS)
def test_a_wrong_field_is_named(server: Running, fields: dict[str, Any], param: str, code: str) -> None:
    answer = server.client.post("/v1/generate", json=fields)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["type"], error["param"], error["code"]) == ("field_error", param, code)
    assert param in error["message"]


def test_values_in_messages_are_printable_and_cut(server: Running) -> None:
    for fields in (
        {"prompt": "a", "n": "生" * 100_000},
        {"prompt": "a", "生\n" * 100_000: 1},
        {"prompt": ["x"] * 9000},
    ):
        answer = server.client.post("/v1/generate", json=fields)
        assert answer.status_code == 422
        assert len(answer.content) < 1000
        assert answer.json()["error"]["message"].isprintable()


def test_several_wrong_fields_are_all_named(server: Running) -> None:
    error = server.client.post("/v1/generate", json={"n": 0, "top_p": 2, "bad": 1}).json()["error"]
    assert all(word in error["message"] for word in ("n:", "top_p:", "'bad'", "prompt is required"))


def test_a_prompt_over_the_limit_is_refused_with_both_numbers_before_any_model_work() -> None:
    with running(max_prompt_tokens=100) as server:
        for length in (101, 10_000):
            answer = server.client.post("/v1/generate", json={"prompt": ["a", "b" * length]})
            assert answer.status_code == 422
            message = answer.json()["error"]["message"]
            assert "100 are allowed" in message
            assert ("101" if length == 101 else "at least 2500") in message
        assert not server.steps.num_rows
        assert not server.sequences.calls
        server.generate(prompt="b" * 100, max_tokens=1)
        assert server.sequences.calls == [(32,), (32,), (32,), (3,)]


def test_a_long_prompt_is_read_in_another_thread_and_answered_alike(server: Running) -> None:
    text = "to be or not to be, " * 1000
    assert server.generate(prompt=text, max_tokens=3)["usage"]["prompt_tokens"] == len(text)


def test_an_unknown_model_is_404_and_lists_which_exist() -> None:
    with running(fake_model("one"), fake_model("two", 3), fake_model("two", 4)) as server:
        for name in ("three", "two/2", "two/", "/", "two/04", "😀" * 50):
            answer = server.client.post("/v1/generate", json={"prompt": "a", "model": name})
            assert answer.status_code == 404
            assert "one/1, two/3, two/4" in answer.json()["error"]["message"]
            assert answer.json()["error"]["code"] == "model_not_found"
        for name, found in (("one", "one/1"), ("two", "two/4"), ("two/3", "two/3")):
            assert server.generate(prompt="a", model=name, max_tokens=1)["model"] == found
        answer = server.client.post("/v1/generate", json={"prompt": "a"})
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == "model"
        assert "RNNSERVE_DEFAULT_GENERATION" in answer.json()["error"]["message"]
        listed = server.client.get("/v1/models").json()
        assert [(card["id"], card["version"]) for card in listed["data"]] == [("one", 1), ("two", 4)]


def test_the_default_model_answers_requests_that_name_none() -> None:
    with running(fake_model("one"), fake_model("two"), default_generation="two") as server:
        assert server.generate(prompt="a", max_tokens=1)["model"] == "two/1"


def test_a_default_model_that_is_not_loaded_fails_the_start_and_names_those_that_are() -> None:
    with running(fake_model("one"), fake_model("two"), default_generation="three") as server:
        answer = server.client.get("/readyz")
        assert answer.status_code == 503
        message = answer.json()["error"]["message"]
        assert (
            "RNNSERVE_DEFAULT_GENERATION: Model 'three' not found. Loaded generation models: one/1, two/1." in message
        )


def test_more_requests_than_permits_are_429_with_retry_after_and_permits_come_back() -> None:
    with running(max_requests=3) as server:
        server.steps.gate = threading.Event()
        with httpx.Client(base_url=server.url, timeout=30) as client:
            answers: list[int] = []
            threads = [
                threading.Thread(
                    target=lambda: answers.append(
                        client.post("/v1/generate", json={"prompt": "a", "max_tokens": 2}).status_code
                    )
                )
                for _ in range(3)
            ]
            for thread in threads:
                thread.start()
            server.until(lambda: server.service.num_requests == 3)
            refused = server.client.post("/v1/generate", json={"prompt": "a"})
            refused_stream = server.client.post("/v1/generate", json={"prompt": "a", "stream": True})
            server.steps.gate.set()
            for thread in threads:
                thread.join()
        for answer in (refused, refused_stream):
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["error"]["type"] == "overloaded_error"
        assert answers == [200] * 3
        for _ in range(5):  # refused, wrong and finished requests hold no permit
            server.generate(prompt="a", max_tokens=1)
            assert server.client.post("/v1/generate", json={"prompt": "😀"}).status_code == 422
        assert server.service.num_requests == 0


def test_an_engine_failure_before_the_first_event_is_a_status() -> None:
    with running() as server:
        server.sequences.fails_at = server.models["fake/1"].tokenizer.encode("z")[0]
        for stream in (False, True):
            answer = server.client.post("/v1/generate", json={"prompt": "za", "stream": stream})
            assert answer.status_code == 500
            assert answer.json()["error"]["type"] == "engine_error"
            assert "Traceback" not in answer.text
        server.generate(prompt="a", max_tokens=1)


def test_an_error_after_the_first_byte_is_an_event() -> None:
    with running() as server:
        gate = server.steps.gate = threading.Event()
        gate.set()
        with server.client.stream("POST", "/v1/generate", json={"prompt": "a", "stream": True, **UNENDING}) as answer:
            lines = (line for line in answer.iter_lines() if line)
            next(lines)
            server.steps.step = None  # type: ignore[method-assign,assignment]
            rest = list(lines)
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2].removeprefix("data: "))["error"]["type"] == "engine_error"


def test_a_client_that_leaves_frees_its_rows_and_its_batch_mates_never_notice() -> None:
    with running() as server:
        expected = server.generate(prompt="to be", seed=5, max_tokens=300, min_tokens=300)
        for stream in (False, True):
            with httpx.Client(base_url=server.url, timeout=30) as leaving:
                found: list[dict[str, Any]] = []
                staying = threading.Thread(
                    target=lambda found=found: found.append(
                        server.generate(prompt="to be", seed=5, max_tokens=300, min_tokens=300)
                    )
                )
                server.steps.gate = threading.Event()
                staying.start()
                fields = {"prompt": ["a", "b"][: 2 - stream], "n": 8, "stream": stream, **UNENDING}
                if stream:
                    server.steps.gate.set()
                    with leaving.stream("POST", "/v1/generate", json=fields) as answer:
                        next(answer.iter_lines())
                else:
                    server.until(lambda: server.service.num_requests == 1)  # the one that stays
                    server.ask_and_leave("/v1/generate", fields)
                    server.steps.gate.set()
                staying.join(30)
                assert [without_id(item) for item in found] == [without_id(expected)]
                server.until(lambda: server.service.num_requests == 0)
                (served,) = server.service.registry.models
                server.until(lambda served=served: served.engine.gauges.num_running == 0)  # type: ignore[misc]
        assert max(server.steps.num_rows[-100:]) <= 64
        metrics = server.client.get("/metrics").text
        assert 'rnnserve_requests_total{model="fake/1",status="499"} 2.0' in metrics


def test_the_answer_does_not_depend_on_the_neighbours(server: Running, bytes_server: Running) -> None:
    rng = np.random.default_rng(3)

    async def ask(client: httpx.AsyncClient, fields: dict[str, Any]) -> dict[str, Any]:
        answer = await client.post("/v1/generate", json=fields)
        assert answer.status_code == 200, answer.text
        return without_id(answer.json())

    async def main(where: Running) -> None:
        requests = []
        for seed in range(150):
            prompt = "".join(rng.choice(list("to be or not生存"), rng.integers(1, 120)))
            fields: dict[str, Any] = {
                "prompt": prompt,
                "seed": seed,
                "max_tokens": int(rng.integers(1, 60)),
                "n": 1 + seed % 2,
            }
            fields |= MIXED[seed % len(MIXED)]
            requests.append(fields)
        async with httpx.AsyncClient(base_url=where.url, timeout=60, limits=httpx.Limits(max_connections=64)) as client:
            together = await asyncio.gather(*(ask(client, fields) for fields in requests))
            for fields, answer in list(zip(requests, together, strict=True))[::4]:
                assert await ask(client, fields) == answer

    for where in (server, bytes_server):
        asyncio.run(main(where))
