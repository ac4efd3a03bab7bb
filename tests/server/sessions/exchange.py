"""One HTTP request to an app in the test's own event loop, whose client can leave at any moment."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Scope


class Exchange:
    """A request on its way.

    Args:
        loop: where the app runs.
        app: answers.
        body: bytes, or what becomes JSON.

    Attributes:
        task: the app's work on it.
        status: 0 until it is known.
        content: of the answer, so far.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        app: ASGIApp,
        method: str,
        path: str,
        body: Any = b"",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = 0
        self.content = b""
        self._gone = asyncio.Event()
        self._body: bytes | None = body if isinstance(body, bytes) else json.dumps(body).encode()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [
                (b"host", b"localhost"),
                *((name.encode(), value.encode()) for name, value in (headers or {}).items()),
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self.task: asyncio.Task[None] = loop.create_task(self._run(app, scope))

    @property
    def is_done(self) -> bool:
        return self.task.done()

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Of a stream; what ends it is left out."""
        lines = [line.removeprefix("data: ") for line in self.content.decode().split("\n\n") if line]
        return [json.loads(line) for line in lines if line != "[DONE]"]

    def leave(self) -> None:
        """The client closes the connection."""
        self._gone.set()

    async def _run(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.content += message.get("body", b"")
