"""What a request leaves behind: nothing, also without Python's cycle collector."""

import asyncio
import gc
import json
import resource
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.types import ASGIApp, Message

from server.app import create_app
from server.settings import Settings
from tests.server.running import fake_classifier, fake_model, fake_translator

GENERATE: dict[str, Any] = {"prompt": "to be", "max_tokens": 3, "min_tokens": 3}
TRANSLATE: dict[str, Any] = {"text": "to be", "max_tokens": 3, "beam_size": 1}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "generate": ("/v1/generate", GENERATE),
    "generate, streamed": ("/v1/generate", {**GENERATE, "stream": True}),
    "generate, refused": ("/v1/generate", {**GENERATE, "speed": 2}),
    "generate, left": ("/v1/generate", {**GENERATE, "max_tokens": 4096, "min_tokens": 4096}),
    "generate, streamed, left": ("/v1/generate", {**GENERATE, "max_tokens": 4096, "min_tokens": 4096, "stream": True}),
    "translate": ("/v1/translate", {**TRANSLATE, "beam_size": 2}),
    "translate, streamed": ("/v1/translate", {**TRANSLATE, "stream": True}),
    "sentiment": ("/v1/sentiment", {"text": "to be"}),
    "sentiment, too late": ("/v1/sentiment", {"text": "to be" * 800}),
}


async def post(app: ASGIApp, name: str) -> int:
    """One request, without a client that would leave something itself; its status, 0 where the client has left."""
    path, fields = REQUESTS[name]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"x-request-timeout-ms", b"1" if name.endswith("too late") else b"60000"),
        ],
    }
    messages: list[Message] = [{"type": "http.request", "body": json.dumps(fields).encode()}]
    if name.endswith("left"):
        messages.append({"type": "http.disconnect"})
    status = 0

    async def receive() -> Message:
        if not messages:
            await asyncio.Event().wait()
        return messages.pop(0)

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(scope, receive, send)
    return status


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What there is already is not looked through again at each count: after many tests that takes seconds."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("number", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_requests_are_no_cycles_and_memory_is_flat(number: int, no_collector: None) -> None:
    app = create_app(Settings(lanes=1), lambda _, __: [fake_model(), fake_translator(), fake_classifier()])

    async def main() -> None:
        async with app.router.lifespan_context(app):
            while app.state.service.phase == "loading":
                await asyncio.sleep(0.01)
            statuses = {name: await post(app, name) for name in REQUESTS}  # what the first keeps is used by all others
            expected = {"refused": 422, "left": 0, "too late": 504}
            assert statuses == {name: expected.get(name.split(", ")[-1], 200) for name in REQUESTS}
            for name in REQUESTS:
                gc.collect()
                gc.set_debug(gc.DEBUG_SAVEALL)
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                for _ in range(number):
                    assert await post(app, name) == statuses[name]
                grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
                await asyncio.sleep(0.01)  # what the lanes still hold
                gc.collect()
                assert gc.garbage == [], name
                gc.set_debug(0)
                assert grown < 4096, f"{name}: {grown} KiB for {number} requests"

    asyncio.run(main())
