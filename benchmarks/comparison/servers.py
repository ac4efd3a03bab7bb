"""The servers of the comparison: how each is started, asked and ended."""

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import orjson

from benchmarks.comparison.process import ServerProcess
from benchmarks.comparison.server_settings import ServerSettings
from benchmarks.comparison.workload import Dialect
from benchmarks.serving.server import HOST, Server, free_port
from benchmarks.serving.w1 import MODEL, STORE
from runtime.device import num_cores

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = ROOT / ".venv-comparison"
_TIMEOUT = 120.0  # seconds that a start may take
# None of them reports home; Ray starts no more than it needs.
_QUIET = {
    "BENTOML_DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "DO_NOT_TRACK": "1",
}


class Running(NamedTuple):
    """A server that answers.

    Attributes:
        port: of 127.0.0.1.
        cpu_seconds: CPU time of all its processes so far.
    """

    port: int
    cpu_seconds: Callable[[], float]


@dataclass(frozen=True, slots=True)
class OtherServer:
    """One of the other servers.

    Attributes:
        package: its name in the package index.
        program: the program in .venv-comparison and its arguments; "{port}" is put in.
        dialect: how it is asked.
        max_batch_size: requests of a batch.
        wait_ms: see ServerSettings.
        num_workers: see ServerSettings.
    """

    package: str
    program: tuple[str, ...]
    dialect: Dialect
    max_batch_size: int
    wait_ms: float
    num_workers: int

    @contextmanager
    def running(self) -> Iterator[Running]:
        """The server, until the block is left.

        Raises:
            RuntimeError: it did not come up.
        """
        settings = ServerSettings(
            str(STORE.resolve()), MODEL, free_port(), self.max_batch_size, self.wait_ms, self.num_workers
        )
        program, *arguments = (part.format(port=settings.port) for part in self.program)
        command = [str(ENVIRONMENT / "bin" / program), *arguments]
        environment = {**_QUIET, **settings.environment(), "PYTHONPATH": str(ROOT)}
        with ServerProcess(command, environment) as process:
            self._wait(process, settings.port)
            yield Running(settings.port, process.cpu_seconds)

    def _wait(self, process: ServerProcess, port: int) -> None:
        """Ask until it answers."""
        body = orjson.dumps(self.dialect.body({"prompt": "Good morrow", "max_tokens": 1}))
        deadline = time.perf_counter() + _TIMEOUT
        while time.perf_counter() < deadline:
            process.check()
            connection = http.client.HTTPConnection(HOST, port, timeout=10)
            try:
                connection.request("POST", self.dialect.path, body, {"content-type": "application/json"})
                if connection.getresponse().status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            time.sleep(0.1)
        raise RuntimeError(f"{self.package} did not answer in {_TIMEOUT:.0f} s:\n{process.last_words()}")


@contextmanager
def running_rnnserve() -> Iterator[Running]:
    """Our own server with its defaults, until the block is left."""
    with Server(STORE, [MODEL]) as server:
        yield Running(server.port, server.cpu_seconds)


def installed_version(package: str) -> str:
    """The version of a package in .venv-comparison.

    Raises:
        RuntimeError: it is not installed there.
    """
    found = list(ENVIRONMENT.glob(f"lib/python*/site-packages/{package}-*.dist-info"))
    if len(found) != 1:
        raise RuntimeError(
            f"{package} is not installed in {ENVIRONMENT}; run `make bench-comparison`, which installs it."
        )
    return found[0].name.removeprefix(f"{package}-").removesuffix(".dist-info")


NUM_PROCESSES = num_cores()

RNNSERVE = Dialect("/v1/generate", lambda asked: asked, lambda answer: int(answer["usage"]["completion_tokens"]))

# What was tried on two cores with two processes, tokens/s; the best is used:
#   LitServe   batches of 32: waiting 100 ms 38,300, 20 ms 35,400; of 64, 100 ms 27,900
#   BentoML    batches of 32 28,800, of 64 27,400
#   Ray Serve  batches of 32: waiting 200 ms 17,200, 100 ms 16,300
# A batch begins when it is full, so with 64 clients that ask again at once the long waits are not waited for.
LITSERVE = OtherServer(
    package="litserve",
    program=("python", "-m", "benchmarks.comparison.litserve_service"),
    dialect=Dialect("/predict", lambda asked: asked, lambda answer: int(answer["completion_tokens"])),
    max_batch_size=64 // NUM_PROCESSES,
    wait_ms=100,
    num_workers=NUM_PROCESSES,
)
BENTOML = OtherServer(
    package="bentoml",
    program=(
        "bentoml",
        "serve",
        "benchmarks.comparison.bentoml_service:Generation",
        "--host",
        HOST,
        "--port",
        "{port}",
    ),
    dialect=Dialect(
        "/generate", lambda asked: {"requests": [asked]}, lambda answer: int(answer[0]["completion_tokens"])
    ),
    max_batch_size=64 // NUM_PROCESSES,
    wait_ms=60_000,
    num_workers=NUM_PROCESSES,
)
RAY_SERVE = OtherServer(
    package="ray",
    program=("python", "-m", "benchmarks.comparison.ray_service"),
    dialect=Dialect("/", lambda asked: asked, lambda answer: int(answer["completion_tokens"])),
    max_batch_size=64 // NUM_PROCESSES,
    wait_ms=200,
    num_workers=NUM_PROCESSES,
)

OTHERS = {"LitServe": LITSERVE, "BentoML": BENTOML, "Ray Serve": RAY_SERVE}
