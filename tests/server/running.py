"""A real server on a free port of 127.0.0.1, in a thread, with fake models."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn

from models.bundle import Languages
from models.crf import Crf
from models.tokenizer import Tokenizer
from models.word_ids import WordsRecord
from server.app import create_app
from server.endpoint import LoadedModel
from server.http.protocol import uvicorn_config
from server.service import Service
from server.settings import Settings
from tests.server.fake_open_set import FakeOpenSet
from tests.server.fake_runner import STATE_WIDTH, FakeAttentionStepRunner, FakeSequenceRunner, FakeStepRunner

CHARACTERS = Tokenizer.character(["abcdefghijklmnopqrstuvwxyz .,!?\n生存还是毁灭é"], end_token=True)
BYTES = Tokenizer.byte_bpe(["to be or not to be, 生存还是毁灭😀 " * 20], 290, end_token=True)


def fake_model(name: str = "fake", version: int = 1, tokenizer: Tokenizer = CHARACTERS) -> LoadedModel:
    return LoadedModel(
        name=name,
        version=version,
        task="generation",
        own_tokenizer=tokenizer,
        state_width=STATE_WIDTH,
        precision="fp32",
        backend="fake",
        metrics={"nats_per_token": 1.5},
        bundle_sha256=f"{name}/{version}",
        opened=FakeOpenSet(tokenizer.vocab_size),
    )


def fake_translator(
    name: str = "translator",
    version: int = 1,
    tokenizer: Tokenizer = CHARACTERS,
    *,
    source: str = "en",
    target: str = "zh",
) -> LoadedModel:
    return LoadedModel(
        name=name,
        version=version,
        task="translation",
        own_tokenizer=tokenizer,
        languages=Languages(source=source, target=target),
        precision="int8",
        backend="fake",
        metrics={"bleu": 20.5},
        bundle_sha256=f"{name}/{version}",
        opened=FakeOpenSet(tokenizer.vocab_size),
    )


def fake_classifier(name: str = "classifier", version: int = 1, tokenizer: Tokenizer = CHARACTERS) -> LoadedModel:
    return LoadedModel(
        name=name,
        version=version,
        task="sentiment",
        own_tokenizer=tokenizer,
        labels=("negative", "neutral", "positive"),
        precision="fp32",
        backend="fake",
        metrics={"accuracy": 0.9},
        bundle_sha256=f"{name}/{version}",
        opened=FakeOpenSet(tokenizer.vocab_size),
    )


def fake_tagger(
    name: str = "tagger", version: int = 1, tokenizer: Tokenizer = CHARACTERS, crf: Crf | None = None
) -> LoadedModel:
    return LoadedModel(
        name=name,
        version=version,
        task="tagging",
        own_tokenizer=tokenizer,
        labels=("B-x", "I-x", "O"),
        words=WordsRecord(),
        crf=crf,
        precision="fp32",
        backend="fake",
        metrics={"accuracy": 0.9},
        bundle_sha256=f"{name}/{version}",
        opened=FakeOpenSet(tokenizer.vocab_size),
    )


def fake_set(model: LoadedModel) -> FakeOpenSet:
    """The fake graphs of a model."""
    assert isinstance(model.opened, FakeOpenSet)
    return model.opened


@dataclass
class Running:
    """A running server.

    Attributes:
        models: the fakes by id, to be broken or held.
    """

    url: str
    port: int
    service: Service
    client: httpx.Client
    models: dict[str, LoadedModel] = field(default_factory=dict)

    def post(self, path: str, **fields: Any) -> dict[str, Any]:
        """The answer to a request that succeeds."""
        answer = self.client.post(path, json=fields)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    def generate(self, **fields: Any) -> dict[str, Any]:
        return self.post("/v1/generate", **fields)

    def translate(self, **fields: Any) -> dict[str, Any]:
        return self.post("/v1/translate", **fields)

    def classify(self, **fields: Any) -> dict[str, Any]:
        return self.post("/v1/sentiment", **fields)

    def tag(self, **fields: Any) -> dict[str, Any]:
        return self.post("/v1/tag", **fields)

    @property
    def graphs(self) -> FakeOpenSet:
        """The fake graphs of the only model."""
        (model,) = self.models.values()
        return fake_set(model)

    @property
    def steps(self) -> FakeStepRunner:
        """The step runner of the only model."""
        return self.graphs.step_runner

    @property
    def translator_steps(self) -> FakeAttentionStepRunner:
        """The step runner of the only model, a translator."""
        return self.graphs.attention_runner

    @property
    def sequences(self) -> FakeSequenceRunner:
        """The runner of the only model's sequence graphs."""
        return self.graphs.sequence_runner

    def until(self, condition: Callable[[], bool]) -> None:
        wait_until(condition)

    def ask_and_leave(self, path: str, body: dict[str, Any]) -> None:
        """Send a request, wait until the server has begun it, close the connection, wait until it was dropped.

        Nothing else may come or end meanwhile, and the request must not: hold a gate, or ask for a long answer.
        """
        before = self.service.num_requests
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
            wait_until(lambda: self.service.num_requests == before + 1)
        wait_until(lambda: self.service.num_requests == before)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited 30 s in vain")


def open_gates(model: LoadedModel) -> None:
    """Let every call go on, so that the engine can be stopped."""
    if not isinstance(model.opened, FakeOpenSet):
        return
    graphs = model.opened
    for runner in (graphs.sequence_runner, graphs.step_runner, graphs.attention_runner):
        if runner.gate is not None:
            runner.gate.set()


@contextlib.contextmanager
def running(
    *models: LoadedModel, load: Callable[[Settings], list[LoadedModel]] | None = None, **settings: Any
) -> Iterator[Running]:
    """Serve the models until the block is left."""
    loaded = list(models) or [fake_model()]
    # One step after the other, so that each can be held.
    settings = {"lanes": 1, "window_steps": 1, "refusal_seconds": 0, **settings}
    checked = Settings(**{"port": 0, **settings})
    app = create_app(checked, lambda own, _: load(own) if load is not None else loaded)
    service: Service = app.state.service
    config = uvicorn_config(app, checked, service.metrics)
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
    listening = config.bind_socket()
    port = listening.getsockname()[1]

    def serve() -> None:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=[listening]))

    thread = threading.Thread(target=serve)
    thread.start()
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: server.started)
        if load is None:
            wait_until(lambda: service.phase != "loading")
        # verify=False: no certificate is needed, and reading them all takes longer than many a request
        with httpx.Client(base_url=url, timeout=30, verify=False) as client:
            yield Running(url, port, service, client, {model.id: model for model in loaded})
    finally:
        for model in loaded:
            open_gates(model)
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
