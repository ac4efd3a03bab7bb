"""A real server on a free port of 127.0.0.1, in a thread, with fake models."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn

from models.tokenizer import Tokenizer
from server.app import create_app
from server.loaded_model import LoadedModel
from server.service import Service
from server.settings import Settings
from tests.server.fake_runner import STATE_WIDTH, FakeSequenceRunner, FakeStepRunner

CHARACTERS = Tokenizer.character(["abcdefghijklmnopqrstuvwxyz .,!?\n生存还是毁灭é"], end_token=True)
BYTES = Tokenizer.byte_bpe(["to be or not to be, 生存还是毁灭😀 " * 20], 290, end_token=True)


def fake_model(
    name: str = "fake", version: int = 1, tokenizer: Tokenizer = CHARACTERS, *, max_rows: int = 64
) -> LoadedModel:
    return LoadedModel(
        name=name,
        version=version,
        task="generation",
        tokenizer=tokenizer,
        state_width=STATE_WIDTH,
        precision="fp32",
        backend="fake",
        metrics={"nats_per_token": 1.5},
        steps=FakeStepRunner(2 * max_rows, tokenizer.vocab_size),
        sequences=FakeSequenceRunner(tokenizer.vocab_size),
    )


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

    def generate(self, **fields: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/generate", json=fields)
        assert answer.status_code == 200, answer.text
        result: dict[str, Any] = answer.json()
        return result

    @property
    def steps(self) -> FakeStepRunner:
        """The step runner of the only model."""
        (model,) = self.models.values()
        assert isinstance(model.steps, FakeStepRunner)
        return model.steps

    @property
    def sequences(self) -> FakeSequenceRunner:
        (model,) = self.models.values()
        assert isinstance(model.sequences, FakeSequenceRunner)
        return model.sequences

    def until(self, condition: Callable[[], bool]) -> None:
        wait_until(condition)


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("waited 30 s in vain")


@contextlib.contextmanager
def running(
    *models: LoadedModel, load: Callable[[Settings], list[LoadedModel]] | None = None, **settings: Any
) -> Iterator[Running]:
    """Serve the models until the block is left."""
    loaded = list(models) or [fake_model(max_rows=settings.get("max_rows", 64))]
    app = create_app(Settings(**settings), load or (lambda _: loaded))
    config = uvicorn.Config(app, port=0, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    listening = config.bind_socket()
    port = listening.getsockname()[1]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
    thread.start()
    service: Service = app.state.service
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: server.started)
        if load is None:
            wait_until(lambda: service.phase != "loading")
        with httpx.Client(base_url=url, timeout=30) as client:
            yield Running(url, port, service, client, {model.id: model for model in loaded})
    finally:
        for model in loaded:
            if isinstance(model.steps, FakeStepRunner) and model.steps.gate is not None:
                model.steps.gate.set()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
