"""BentoML with adaptive batching (https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html).

    bentoml serve benchmarks.comparison.bentoml_service:Generation

Runs in .venv-comparison. A batchable API takes and gives lists, so a client sends a list of one. The documentation's
other way, a second service in front that takes single requests and calls this one, was tried too: under the load of the
comparison a third to a half of its requests were answered with 500, because its calls inside found the connection
closed.
"""
# mypy: disable-error-code="import-not-found, untyped-decorator"

import bentoml
from pydantic import BaseModel

from benchmarks.comparison.batch_generation import BatchGenerator, Request
from benchmarks.comparison.server_settings import ServerSettings

SETTINGS = ServerSettings.from_environment()


class GenerationRequest(BaseModel):
    """One request."""

    prompt: str
    max_tokens: int


class GenerationAnswer(BaseModel):
    """One answer."""

    text: str
    completion_tokens: int


@bentoml.service(
    workers=SETTINGS.num_workers,
    traffic={"timeout": 120, "max_concurrency": 1024},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Generation:
    """The model behind POST /generate."""

    def __init__(self) -> None:
        self._generator = BatchGenerator.open(SETTINGS.store, SETTINGS.model, SETTINGS.max_batch_size)

    @bentoml.api(batchable=True, max_batch_size=SETTINGS.max_batch_size, max_latency_ms=int(SETTINGS.wait_ms))
    def generate(self, requests: list[GenerationRequest]) -> list[GenerationAnswer]:
        """The answers of a batch."""
        answers = self._generator.answers([Request(request.prompt, request.max_tokens) for request in requests])
        return [GenerationAnswer(**answer._asdict()) for answer in answers]
