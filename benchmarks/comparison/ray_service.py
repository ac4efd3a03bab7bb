"""Ray Serve with dynamic request batching (https://docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html).

    python -m benchmarks.comparison.ray_service

Runs in .venv-comparison: a Ray cluster of this machine alone, one proxy.
"""
# mypy: disable-error-code="import-not-found, untyped-decorator, attr-defined"

import asyncio
import signal
import sys
from pathlib import Path

import ray
from ray import serve
from starlette.requests import Request as HttpRequest

from benchmarks.comparison.batch_generation import BatchGenerator, Request
from benchmarks.comparison.server_settings import ServerSettings

OBJECT_STORE_BYTES = 80 << 20  # nothing is kept there; about the least that Ray accepts
SETTINGS = ServerSettings.from_environment()


@serve.deployment(num_replicas=SETTINGS.num_workers, max_ongoing_requests=1024)
class Generation:
    """The model behind POST /."""

    def __init__(self) -> None:
        self._generator = BatchGenerator.open(SETTINGS.store, SETTINGS.model, SETTINGS.max_batch_size)

    @serve.batch(max_batch_size=SETTINGS.max_batch_size, batch_wait_timeout_s=SETTINGS.wait_ms / 1e3)
    async def generate(self, requests: list[Request]) -> list[dict[str, str | int]]:
        """The answers of a batch; in a thread, so that the next requests are read meanwhile."""
        answers = await asyncio.to_thread(self._generator.answers, requests)
        return [answer._asdict() for answer in answers]

    async def __call__(self, request: HttpRequest) -> dict[str, str | int]:
        """One request."""
        fields = await request.json()
        answer: dict[str, str | int] = await self.generate(Request(fields["prompt"], fields["max_tokens"]))
        return answer


def main() -> None:
    """Serve until SIGTERM. Ray keeps its files in the working directory."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ray.init(
        include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, log_to_driver=False, _temp_dir=str(Path.cwd())
    )
    quiet = {"log_level": "WARNING", "enable_access_log": False}
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": SETTINGS.port}, logging_config=quiet)
        serve.run(Generation.bind(), logging_config=quiet)
        signal.pause()
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main()
