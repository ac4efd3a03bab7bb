"""Models of text at /v2, asked by NVIDIA's own clients over a real socket."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from server.api.inference.tensors import HEADER_LENGTH
from tests.server.running import Running, fake_classifier, fake_model, fake_tagger, fake_translator, running

TEXTS = ["to be", "or not", "生存 é"]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(fake_model(), fake_classifier(), fake_translator(), fake_tagger(), max_prompt_tokens=100) as instance:
        yield instance


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as found:
        yield found


def text_input(texts: list[str], *, is_binary: bool = True) -> triton.InferInput:
    found = triton.InferInput("text_input", [len(texts)], "BYTES")
    found.set_data_from_numpy(np.array(texts, object), binary_data=is_binary)
    return found


def texts_of(answer: Any, name: str) -> list[str]:
    return [text if isinstance(text, str) else text.decode() for text in answer.as_numpy(name).tolist()]


@pytest.mark.parametrize("is_binary", [True, False], ids=["binary", "json"])
@pytest.mark.parametrize("parameters", [{}, {"temperature": 0.5, "top_k": 5}, {"stop": "e", "echo": True}])
def test_generated_texts_are_those_of_the_native_path(
    server: Running, client: triton.InferenceServerClient, is_binary: bool, parameters: dict[str, Any]
) -> None:
    names = ("text_output", "finish_reason", "seed")
    outputs = [triton.InferRequestedOutput(name, binary_data=is_binary) for name in names]
    inputs = [text_input(TEXTS, is_binary=is_binary)]
    given = {"max_tokens": 20, "seed": 5, **parameters}
    found = client.infer("fake", inputs, outputs=outputs, request_id="mine", parameters=given)
    native = server.generate(prompt=TEXTS, **given)["choices"]
    assert texts_of(found, "text_output") == [choice["text"] for choice in native]
    assert texts_of(found, "finish_reason") == [choice["finish_reason"] for choice in native]
    assert found.as_numpy("seed").tolist() == [5] * 3
    assert found.get_response()["id"] == "mine"


def test_without_a_seed_it_is_drawn_and_returned(server: Running, client: triton.InferenceServerClient) -> None:
    found = client.infer("fake", [text_input(["to be"])], parameters={"max_tokens": 20})
    (seed,) = found.as_numpy("seed").tolist()
    assert texts_of(found, "text_output") == [
        server.generate(prompt="to be", max_tokens=20, seed=seed)["choices"][0]["text"]
    ]


def test_translations_have_their_scores(server: Running, client: triton.InferenceServerClient) -> None:
    found = client.infer("translator", [text_input(TEXTS)], model_version="1", parameters={"beam_size": 2})
    native = server.translate(text=TEXTS, beam_size=2)["translations"]
    assert texts_of(found, "text_output") == [each["text"] for each in native]
    assert texts_of(found, "finish_reason") == [each["finish_reason"] for each in native]
    assert [json.loads(text) for text in texts_of(found, "warnings")] == [each.get("warnings", []) for each in native]
    assert found.as_numpy("score").tolist() == pytest.approx([each["score"] for each in native], rel=1e-6)


def test_classified_texts_have_labels_and_all_scores(server: Running, client: triton.InferenceServerClient) -> None:
    found = client.infer("classifier", [text_input(TEXTS)])
    native = server.classify(text=TEXTS, all_scores=True)["results"]
    assert texts_of(found, "label") == [each["label"] for each in native]
    assert found.as_numpy("score") == pytest.approx([each["score"] for each in native], rel=1e-6)
    assert found.as_numpy("scores") == pytest.approx(
        np.array([[*each["scores"].values()] for each in native]), rel=1e-6
    )
    assert found.as_numpy("scores").shape == (3, 3)


@pytest.mark.parametrize("aggregation", ["first", "none"])
def test_labelled_words_have_their_text_and_place(
    server: Running, client: triton.InferenceServerClient, aggregation: str
) -> None:
    found = client.infer("tagger", [text_input(TEXTS)], parameters={"aggregation": aggregation})
    native = [
        (number, token["start"], token["end"], token["label"])
        for number, result in enumerate(server.tag(text=TEXTS, aggregation=aggregation)["results"])
        for token in result["tokens"]
    ]
    numbers, starts, ends = (found.as_numpy(name).tolist() for name in ("text_index", "start", "end"))
    assert list(zip(numbers, starts, ends, texts_of(found, "label"), strict=True)) == native
    assert found.as_numpy("score").dtype == np.float32


def test_metadata_names_what_there_is(client: triton.InferenceServerClient) -> None:
    for model, outputs in {
        "fake": ["text_output", "finish_reason", "seed"],
        "translator": ["text_output", "score", "finish_reason", "warnings"],
        "classifier": ["label", "score", "scores"],
        "tagger": ["text_index", "start", "end", "label", "score"],
    }.items():
        found = client.get_model_metadata(model)
        assert found["inputs"] == [{"name": "text_input", "datatype": "BYTES", "shape": [-1]}]
        assert [output["name"] for output in found["outputs"]] == outputs
        assert client.is_model_ready(model)
        answer = client.infer(model, [text_input(["to be"])])
        for output in found["outputs"]:
            values = answer.as_numpy(output["name"])
            assert len(values.shape) == len(output["shape"])
            assert answer.get_output(output["name"])["datatype"] == output["datatype"]


def test_a_request_may_go_on_in_a_session(server: Running, client: triton.InferenceServerClient) -> None:
    session = server.post("/v1/sessions", model="fake")["id"]
    for _ in range(2):
        client.infer("fake", [text_input(["to be"])], parameters={"session": session, "max_tokens": 4, "min_tokens": 4})
    assert server.client.get(f"/v1/sessions/{session}").json()["tokens"] == 18


@pytest.mark.parametrize(
    ("model", "texts", "parameters", "sentence"),
    [
        ("fake", ["a"], {"temperature": 11}, "temperature: Input should be less than or equal to 10 (got 11)."),
        ("fake", ["a"], {"n": 2}, "Unknown parameter 'n'. Parameters: max_tokens, min_tokens"),
        ("fake", ["a"], {"stop": "z" * 257}, "stop: "),
        ("fake", ["a", ""], {}, "text_input: string 1 is empty"),
        ("fake", ["a"] * 65, {}, "Input text_input has shape [65]; it is [texts], 1 to 64 of them."),
        ("fake", ["a" * 101], {}, "text_input has 101 tokens; at most 100 are allowed (RNNSERVE_MAX_PROMPT_TOKENS)."),
        ("classifier", ["a"], {"top_k": 1}, "Unknown parameter 'top_k'. Parameters: timeout, priority"),
        ("classifier", ["a"] * 257, {}, "Input 'text_input': shape [257] has 257 texts; at most 256 are allowed."),
        ("tagger", [" "], {}, "text_input holds no word"),
        ("translator", ["a"], {"source": "de"}, "Model translator/1 translates en to zh, not de to any language."),
        ("nobody", ["a"], {}, "Model 'nobody' not found. Models that take tensors: classifier/1, fake/1"),
    ],
)
def test_what_is_wrong_is_the_clients_exception_with_our_sentence(
    client: triton.InferenceServerClient, model: str, texts: list[str], parameters: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, [text_input(texts)], parameters=parameters)
    assert caught.value.message().startswith(sentence)
    assert caught.value.status() == ("404" if model == "nobody" else "400")


def _body(**fields: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "text_input", "shape": [1], "datatype": "BYTES", "data": ["a"], **fields}]}


@pytest.mark.parametrize(
    ("body", "tail", "sentence"),
    [
        (_body(name="text"), b"", "The model has no input 'text'. Inputs: text_input."),
        (_body(datatype="INT32", data=[1]), b"", "Input text_input holds numbers; its datatype is BYTES"),
        (_body(data=[1]), b"", "Input 'text_input': data holds 1; BYTES are strings here."),
        (_body(data=[None]), b"", "Input 'text_input': data holds null"),
        (_body(data=["a", "b"]), b"", "Input 'text_input': data has 2 texts, and shape [1] has 1."),
        (_body(shape=[1, 1]), b"", "Input text_input has shape [1, 1]; it is [texts]"),
        (_body(shape=[0], data=[]), b"", "Input text_input has shape [0]; it is [texts]"),
        (_body(data=[[[[[[["a"]]]]]]], shape=[2]), b"", "Input 'text_input': data has 1 texts"),
        (_body(data=json.loads("[" * 100 + "]" * 100)), b"", "Input 'text_input': data holds"),
        (
            {"inputs": _body()["inputs"], "outputs": [{"name": "logits"}]},
            b"",
            "The model has no output 'logits'. Outputs: text_output",
        ),
        ({**_body(), "parameters": {"timeout": 0}}, b"", "timeout: must be a whole number of microseconds above 0"),
        ({**_body(), "parameters": {"sequence_id": 4}}, b"", "Unknown parameter 'sequence_id'."),
        (
            _body(data=None, parameters={"binary_data_size": 5}),
            b"\x02\0\0\0a",
            "Input 'text_input': the bytes end inside text 0",
        ),
        (
            _body(data=None, parameters={"binary_data_size": 3}),
            b"\x02\0\0",
            "Input 'text_input': the bytes end inside text 0",
        ),
        (
            _body(data=None, parameters={"binary_data_size": 5}),
            b"\x01\0\0\0\xff",
            "Input text_input: text 0 is not UTF-8.",
        ),
        (_body(data=None, parameters={"binary_data_size": -1}), b"", "Input 'text_input': binary_data_size must be"),
        (
            _body(data=None, parameters={"binary_data_size": 10}),
            b"\x01\0\0\0a" * 2,
            "Input 'text_input': data has 2 texts",
        ),
    ],
)
def test_what_no_client_sends_is_400_too(server: Running, body: dict[str, Any], tail: bytes, sentence: str) -> None:
    head = json.dumps(body).encode()
    headers = {HEADER_LENGTH: str(len(head))} if tail else {}
    answer = server.client.post("/v2/models/fake/infer", content=head + tail, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(sentence)


def test_a_timeout_of_the_body_is_a_deadline(server: Running) -> None:
    with running(fake_model()) as own, triton.InferenceServerClient(f"127.0.0.1:{own.port}") as client:
        own.steps.seconds = 0.2
        with pytest.raises(InferenceServerException, match="was not done after 50 ms") as caught:
            client.infer("fake", [text_input(["to be"])], timeout=50_000, parameters={"max_tokens": 4000})
        assert caught.value.status() == "504"


def test_generate_gives_a_text_for_a_text(server: Running) -> None:
    native = server.generate(prompt="to be", seed=5, max_tokens=20)["choices"][0]
    wanted = {
        "id": "mine",
        "model_name": "fake",
        "model_version": "1",
        "text_output": native["text"],
        "finish_reason": native["finish_reason"],
        "seed": 5,
    }
    parameters = {"seed": 5, "max_tokens": 20}
    for path in ("/v2/models/fake/generate", "/v2/models/fake/versions/1/generate"):
        assert server.post(path, id="mine", text_input="to be", parameters={**parameters, "stream": False}) == wanted
        assert server.post(path, id="mine", text_input="to be", **parameters) == wanted
        body = {"id": "mine", "text_input": "to be", "parameters": parameters}
        answer = server.client.post(f"{path}_stream", json=body)
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
        assert len(events) > 1
        assert "".join(event["text_output"] for event in events) == native["text"]
        assert {**events[-1], "text_output": native["text"]} == wanted
        assert {event["finish_reason"] for event in events[:-1]} == {None}
    translation = server.post("/v2/models/translator/generate", text_input="to be")
    assert translation["text_output"] == server.translate(text="to be")["translations"][0]["text"]


@pytest.mark.parametrize(
    ("path", "body", "status", "sentence"),
    [
        ("fake/generate", {}, 400, "text_input is required."),
        ("fake/generate", {"text_input": ""}, 400, "text_input: "),
        ("fake/generate", {"text_input": "a", "parameters": {"stream": 1}}, 400, "stream: must be true or false"),
        ("fake/generate_stream", {"text_input": "a", "max_tokens": 0}, 400, "max_tokens: "),
        ("fake/generate_stream", {"text_input": "a" * 101}, 400, "text_input has 101 tokens"),
        ("classifier/generate", {"text_input": "a"}, 400, "Model classifier/1 is for sentiment, and generates no text"),
        ("translator/generate_stream", {"text_input": "a"}, 400, "Model translator/1 is for translation, which is not"),
        ("nobody/generate", {"text_input": "a"}, 404, "Model 'nobody' not found"),
    ],
)
def test_generate_refuses_in_a_sentence(
    server: Running, path: str, body: dict[str, Any], status: int, sentence: str
) -> None:
    answer = server.client.post(f"/v2/models/{path}", json=body)
    assert (answer.status_code, set(answer.json())) == (status, {"error"})
    assert answer.json()["error"].startswith(sentence)


def test_the_asynchronous_client_gets_the_same(server: Running, client: triton.InferenceServerClient) -> None:
    async def main() -> None:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as own:
            inputs, parameters = [text_input(TEXTS)], {"seed": 4, "max_tokens": 9}
            answers = await asyncio.gather(*(own.infer("fake", inputs, parameters=parameters) for _ in range(3)))
            wanted = texts_of(client.infer("fake", inputs, parameters=parameters), "text_output")
            assert [texts_of(answer, "text_output") for answer in answers] == [wanted] * 3
            assert (await own.get_model_metadata("fake"))["name"] == "fake"
            with pytest.raises(InferenceServerException, match="Model 'nobody' not found"):
                await own.infer("nobody", inputs)

    asyncio.run(main())
