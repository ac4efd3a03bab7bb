"""The shipped models, served by `python -m server` and asked by the clients of Hugging Face and NVIDIA."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import HfHubHTTPError, ValidationError
from tritonclient.utils import InferenceServerException

from tests.end_to_end.real_server import RealServer, real_server

ADMIN = "an operator's key"
HEADERS = {"authorization": f"Bearer {ADMIN}"}
TEXTS = {
    "shakespeare-char": "ROMEO:",
    "translate-en-zh": "Where is the station?",
    "sentiment-en": "What a wonderful film!",
    "sentiment-zh": "很好吃",
    "tag-en": "Anna flew to Oslo.",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    environment = {
        "RNNSERVE_ADMIN_KEY": ADMIN,
        "RNNSERVE_DEFAULT_SENTIMENT": "sentiment-en",
        "RNNSERVE_GRACE_SECONDS": "20",
    }
    log = tmp_path_factory.mktemp("clients") / "log"
    with real_server(Path("artifacts"), log=log, environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RealServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as found:
        yield found


def hugging_face(server: RealServer, model: str) -> InferenceClient:
    return InferenceClient(model=f"{server.url}/models/{model}")


def text_input(*texts: str) -> triton.InferInput:
    found = triton.InferInput("text_input", [len(texts)], "BYTES")
    found.set_data_from_numpy(np.array(texts, object))
    return found


def test_hugging_faces_client_asks_every_task(server: RealServer) -> None:
    labels = hugging_face(server, "sentiment-en").text_classification(TEXTS["sentiment-en"])
    assert [item.label for item in labels] == ["positive", "negative"]
    words = hugging_face(server, "tag-en/1").token_classification(TEXTS["tag-en"], ignore_labels=[])
    assert [word.word for word in words] == ["Anna", "flew", "to", "Oslo", "."]
    translation = hugging_face(server, "translate-en-zh").translation("I love you.", src_lang="en", tgt_lang="zh")
    assert "爱" in translation.translation_text
    german = hugging_face(server, "translate-en-zh").translation("Wo ist der Bahnhof, bitte? Ich habe mich verlaufen.")
    assert "language_mismatch" in [warning["code"] for warning in german["warnings"]]
    text = hugging_face(server, "shakespeare-char")
    body = {"prompt": "ROMEO:", "max_tokens": 40, "temperature": 0.7, "seed": 7}
    native = server.client.post("/v1/generate", json=body).json()["choices"][0]["text"]
    arguments: dict[str, Any] = {"max_new_tokens": 40, "temperature": 0.7, "seed": 7}
    assert text.text_generation("ROMEO:", **arguments) == native
    events = list(text.text_generation("ROMEO:", stream=True, details=True, **arguments))
    assert "".join(event.token.text for event in events) == events[-1].generated_text == native
    assert events[-1].details.generated_tokens == 40
    with pytest.raises(ValidationError, match="max_new_tokens: Input should be less than or equal to 4096"):
        text.text_generation("ROMEO:", max_new_tokens=5000)
    with pytest.raises(HfHubHTTPError, match="Addresses of those loaded: /models/sentiment-en, /models/sentiment-zh"):
        hugging_face(server, "sentiment-de").text_classification("gut")
    with pytest.raises(HfHubHTTPError, match="Model forecast-hourly/1 is for forecast, which is asked in another way"):
        hugging_face(server, "forecast-hourly").text_classification("a")


def test_hugging_faces_asynchronous_client_asks_every_task(server: RealServer) -> None:
    async def main() -> None:
        async with AsyncInferenceClient() as found:
            address = f"{server.url}/models/"
            labels = await found.text_classification(TEXTS["sentiment-zh"], model=f"{address}sentiment-zh")
            assert labels[0].label == "positive"
            assert await found.token_classification(TEXTS["tag-en"], model=f"{address}tag-en")
            translation = await found.translation(TEXTS["translate-en-zh"], model=f"{address}translate-en-zh")
            assert "车站" in translation.translation_text
            model = f"{address}shakespeare-char"
            whole = await found.text_generation("ROMEO:", model=model, max_new_tokens=20)
            pieces = await found.text_generation("ROMEO:", model=model, max_new_tokens=20, stream=True)
            assert "".join([piece async for piece in pieces]) == whole
            with pytest.raises(ValidationError, match="temperature"):
                await found.text_generation("ROMEO:", model=model, temperature=11.0)

    asyncio.run(main())


def test_text_embeddings_inference_predicts(server: RealServer) -> None:
    answer = server.client.post("/predict", json={"inputs": [[TEXTS["sentiment-en"]], ["A waste of two hours."]]})
    assert [labels[0]["label"] for labels in answer.json()] == ["positive", "negative"]
    assert server.client.get("/info").json()["model_id"] == "sentiment-en/1"
    pair = server.client.post("/predict", json={"inputs": ["a", "b"]})
    assert (pair.status_code, pair.json()["error_type"]) == (422, "Validation")


def test_nvidias_client_asks_every_model(client: triton.InferenceServerClient, server: RealServer) -> None:
    for model, text in TEXTS.items():
        assert client.is_model_ready(model)
        outputs = [output["name"] for output in client.get_model_metadata(model)["outputs"]]
        answer = client.infer(model, [text_input(text)])
        assert all(len(answer.as_numpy(name)) >= 1 for name in outputs)
    parameters = {"max_tokens": 20, "seed": 7, "temperature": 0.7}
    answer = client.infer("shakespeare-char", [text_input("ROMEO:", "JULIET:")], parameters=parameters)
    body = {"prompt": ["ROMEO:", "JULIET:"], **parameters}
    native = [choice["text"] for choice in server.client.post("/v1/generate", json=body).json()["choices"]]
    assert [text.decode() for text in answer.as_numpy("text_output").tolist()] == native
    with pytest.raises(InferenceServerException, match=r"temperature: .*got 11"):
        client.infer("shakespeare-char", [text_input("ROMEO:")], parameters={"temperature": 11})

    async def main() -> None:
        async with triton_aio.InferenceServerClient(server.url.removeprefix("http://")) as own:
            found = await own.infer("sentiment-en", [text_input(TEXTS["sentiment-en"])])
            assert found.as_numpy("label").tolist() == [b"positive"]
            with pytest.raises(InferenceServerException, match="not found"):
                await own.infer("sentiment-de", [text_input("gut")])

    asyncio.run(main())


def test_operators_unload_and_load_models_while_others_are_asked(
    client: triton.InferenceServerClient, server: RealServer
) -> None:
    """Memory comes back, requests go on, and nothing holds them up for long."""
    seconds: list[float] = []
    is_over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=server.url, timeout=60, verify=False) as own:
            while not is_over.is_set():
                started = time.perf_counter()
                assert own.post("/v1/tag", json={"text": TEXTS["tag-en"]}).status_code == 200
                seconds.append(time.perf_counter() - started)

    asking = threading.Thread(target=ask)
    asking.start()
    before = resident_mib(server)
    names = [name for name in TEXTS if name != "tag-en"]
    for name in names:
        client.unload_model(name, headers=HEADERS)
        assert not client.is_model_ready(name)
    unloaded = resident_mib(server)
    for name in names:
        client.load_model(name, headers=HEADERS)
        client.infer(name, [text_input(TEXTS[name])])
    is_over.set()
    asking.join()
    assert unloaded <= before - 20
    assert len(seconds) > 5
    assert sorted(seconds)[-3] < 0.5  # a shared machine may stop for a moment
    states = {item["name"]: item["state"] for item in client.get_model_repository_index(headers=HEADERS)}
    assert set(states.values()) == {"READY"}
    stats = {item["name"]: item for item in client.get_inference_statistics()["model_stats"]}
    assert stats["tag-en"]["inference_stats"]["success"]["count"] >= len(seconds)
    with pytest.raises(InferenceServerException, match="by operators alone"):
        client.unload_model("tag-en")


def resident_mib(server: RealServer) -> float:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
