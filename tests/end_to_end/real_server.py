"""`python -m server` in a process of its own, stopped by its process id."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.serving.cpu import family_of
from runtime.device import VARIABLE


@dataclass
class RealServer:
    """A running server process."""

    url: str
    process: subprocess.Popen[bytes]
    client: httpx.Client
    log: Path

    @property
    def pids(self) -> list[int]:
        """Its processes: the web server's, then the engines'."""
        return list(family_of(self.process.pid))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def real_server(
    store: Path,
    *arguments: str,
    log: Path,
    environment: Mapping[str, str] | None = None,
    command: tuple[str, ...] = (sys.executable, "-m", "server"),
) -> Iterator[RealServer]:
    """Start a server over a store, wait until it is ready, and stop it with SIGTERM at the end."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RNNSERVE_") or name == VARIABLE}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--store", str(store), "--port", str(port), *arguments],
            stdout=output,
            stderr=output,
            env={**plain, **(environment or {})},
        )
    try:
        # verify=False: no certificate is needed, and reading them all takes longer than many a request
        with httpx.Client(base_url=url, timeout=120, verify=False) as client:
            wait_until_ready(client, process, log)
            yield RealServer(url, process, client, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    """Poll /readyz; a server that ends or is not ready within two minutes is shown with its log."""
    for _ in range(600):
        if process.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            if client.get("/readyz").status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"the server is not ready (exit code {process.poll()}):\n{log.read_text()}")
