"""LitServe with dynamic batching (https://lightning.ai/docs/litserve/features/batching). Runs in .venv-comparison.

python -m benchmarks.comparison.litserve_service
"""
# mypy: disable-error-code="import-not-found, misc"

from collections.abc import Sequence
from typing import Any

import litserve

from benchmarks.comparison.batch_generation import Answer, BatchGenerator, Request
from benchmarks.comparison.server_settings import ServerSettings


class Generation(litserve.LitAPI):
    """The model behind POST /predict."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Load the model, once in the worker."""
        settings = ServerSettings.from_environment()
        self._generator = BatchGenerator.open(settings.store, settings.model, settings.max_batch_size)

    def decode_request(self, request: dict[str, Any]) -> Request:
        """JSON to what the generator takes."""
        return Request(request["prompt"], request["max_tokens"])

    def batch(self, inputs: Sequence[Request]) -> list[Request]:
        """Requests to a batch: nothing to stack, they are text."""
        return list(inputs)

    def predict(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers of a batch."""
        return self._generator.answers(requests)

    def unbatch(self, output: list[Answer]) -> list[Answer]:
        """A batch to answers."""
        return output

    def encode_response(self, output: Answer) -> dict[str, str | int]:
        """An answer to JSON."""
        return output._asdict()


def main() -> None:
    """Serve until SIGTERM: one process for HTTP, the others for the model."""
    settings = ServerSettings.from_environment()
    api = Generation(max_batch_size=settings.max_batch_size, batch_timeout=settings.wait_ms / 1e3)
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        devices=1,
        workers_per_device=settings.num_workers,
        timeout=120,
    )
    server.run(
        host="127.0.0.1",
        port=settings.port,
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
