"""`python -m server` in a process of its own, for as long as a block lasts."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.serving.cpu import cpu_seconds_of

HOST = "127.0.0.1"
_TIMEOUT = 120.0  # seconds that a start or an end may take
_POLL = 0.01  # seconds between two looks at a server that starts
_LOG_LINES = 20  # shown of a server that does not start


class Server:
    """A server on a free port of 127.0.0.1, from entering a `with` block to leaving it.

    Args:
        store: folder of the models.
        models: which of them to load.
        settings: RNNSERVE_* variables, by their full names. Those of this process are not passed on.
        module: the program, which takes the arguments of `server`.

    Attributes:
        port: where it listens.
        pid: its process.
        seconds_to_ready: from the process's start to the first 200 of /readyz.
    """

    def __init__(
        self,
        store: Path,
        models: Sequence[str],
        settings: Mapping[str, str] | None = None,
        *,
        module: str = "server",
    ) -> None:
        self._arguments = ["-m", module, "--store", str(store), "--models", ",".join(models), "--host", HOST]
        self._settings = dict(settings or {})
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the block is left
        self._process: subprocess.Popen[bytes]
        self.port = 0
        self.pid = 0
        self.seconds_to_ready = 0.0

    def __enter__(self) -> Self:
        """Start it and wait until it is ready.

        Raises:
            RuntimeError: it ended, or was not ready in time; with the last lines of its log.
        """
        self.port = free_port()
        plain = {name: value for name, value in os.environ.items() if not name.startswith("RNNSERVE_")}
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, *self._arguments, "--port", str(self.port)],
            stdout=self._log,
            stderr=self._log,
            env=plain | self._settings,
        )
        self.pid = self._process.pid
        try:
            while not self._is_ready():
                if self._process.poll() is not None:
                    raise RuntimeError(f"the server ended with code {self._process.returncode}:\n{self._last_words()}")
                if time.perf_counter() - started > _TIMEOUT:
                    raise RuntimeError(f"the server was not ready in {_TIMEOUT:.0f} s:\n{self._last_words()}")
                time.sleep(_POLL)
        except BaseException:
            self._stop()
            raise
        self.seconds_to_ready = time.perf_counter() - started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it by SIGTERM.

        Raises:
            RuntimeError: it did not end, or not with code 0; with the last lines of its log.
        """
        code = self._process.poll()
        words = self._stop()
        if error is None and (code is not None or self._process.returncode != 0):
            raise RuntimeError(f"the server ended with code {self._process.returncode}:\n{words}")

    def cpu_seconds(self) -> float:
        """Seconds of CPU time that it and its children have used since it started."""
        return cpu_seconds_of(self.pid)

    def get(self, path: str) -> str:
        """The text that the server answers to a GET.

        Raises:
            RuntimeError: another status than 200.
            OSError: it does not answer.
        """
        connection = http.client.HTTPConnection(HOST, self.port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"GET {path} was answered with {answer.status}: {text[:200]}")
        return text

    def metrics(self) -> dict[str, float]:
        """The server's counters now, by name and labels as they stand in its /metrics."""
        lines = (line.rpartition(" ") for line in self.get("/metrics").splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines if name}

    def _is_ready(self) -> bool:
        try:
            self.get("/readyz")
        except (OSError, RuntimeError, http.client.HTTPException):
            return False
        return True

    def _stop(self) -> str:
        """End the process if it has not ended; the last lines of its log."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        words = self._last_words()
        self._log.close()
        return words

    def _last_words(self) -> str:
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        port: int = listener.getsockname()[1]
        return port
