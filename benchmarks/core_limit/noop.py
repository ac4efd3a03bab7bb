"""An endpoint that does nothing, served as the server is: the same framework, event loop and parser, the same bodies.

It reads the body, looks at nothing in it, and answers what it was given, whole or as so many events. What it costs is
what HTTP costs here.
"""

import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Self

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response

from benchmarks.serving.cpu import cpu_seconds_of
from benchmarks.serving.server import HOST, free_port
from server.http.access import JsonAnswer
from server.http.stream import EventStream

PATH = "/noop"
_TIMEOUT = 30.0  # seconds that a start may take


def noop_app(answer: dict[str, Any], num_events: int) -> FastAPI:
    """An app that answers every POST to PATH.

    Args:
        answer: JSON of the answer, or of each event.
        num_events: events of a stream; 0 answers whole.
    """
    app = FastAPI(openapi_url=None)

    async def rest() -> AsyncGenerator[dict[str, Any]]:
        for _ in range(num_events - 1):
            yield answer

    @app.post(PATH)
    async def noop(request: Request) -> Response:
        await request.body()
        return EventStream(answer, rest()) if num_events else JsonAnswer(answer)

    return app


class NoopServer:
    """The endpoint in a process of its own, from entering a `with` block to leaving it.

    Args:
        answer: see noop_app.
        num_events: see noop_app.

    Attributes:
        port: where it listens.
        pid: its process.
    """

    def __init__(self, answer: dict[str, Any], num_events: int = 0) -> None:
        self._arguments = [json.dumps(answer), str(num_events)]
        self._process: subprocess.Popen[bytes]
        self.port = 0
        self.pid = 0

    def __enter__(self) -> Self:
        """Start it and wait until it listens.

        Raises:
            RuntimeError: it ended, or did not listen in time.
        """
        self.port = free_port()
        command = [sys.executable, "-m", "benchmarks.core_limit.noop", str(self.port), *self._arguments]
        self._process = subprocess.Popen(command)
        self.pid = self._process.pid
        deadline = time.perf_counter() + _TIMEOUT
        while not _listens(self.port):
            if self._process.poll() is not None or time.perf_counter() > deadline:
                self._stop()
                raise RuntimeError(f"the endpoint that does nothing did not start (code {self._process.returncode})")
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self._stop()

    def cpu_seconds(self) -> float:
        """Seconds of CPU time that it has used since it started."""
        return cpu_seconds_of(self.pid)

    def _stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def _listens(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=5).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    uvicorn.run(
        noop_app(json.loads(sys.argv[2]), int(sys.argv[3])),
        host=HOST,
        port=int(sys.argv[1]),
        log_config=None,
        access_log=False,
        timeout_keep_alive=75,
    )
