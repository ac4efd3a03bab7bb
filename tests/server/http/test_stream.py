import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from starlette.types import Message

from server.errors import ClientGoneError
from server.http.stream import EventStream


def test_a_reader_that_takes_nothing_is_gone_and_its_work_ends() -> None:
    """`send` waits while a client does not read; the generator that holds permit and rows must be closed."""
    ended: list[str] = []

    async def events() -> AsyncGenerator[dict[str, Any]]:
        try:
            while True:
                yield {"text": "more"}
        finally:
            ended.append("closed")

    async def stream() -> None:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)
            if len(sent) > 2:
                await asyncio.Event().wait()  # the client's buffers are full, and stay so

        async def receive() -> Message:
            raise AssertionError("a stream does not read")

        rest = events()
        await EventStream(await anext(rest), rest, send_timeout=0.05)({"type": "http"}, receive, send)

    with pytest.raises(ClientGoneError, match=r"took nothing for 0\.05 s"):
        asyncio.run(asyncio.wait_for(stream(), timeout=20))
    assert ended == ["closed"]
