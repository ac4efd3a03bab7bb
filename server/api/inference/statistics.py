"""/v2/models/stats: what each model has done since the server started, as Triton's statistics extension has it.

The numbers are those of /metrics. `execution_count` and `compute_infer` are of the runtime's calls, which work for many
requests at once; `batch_stats` is empty, because batches change from step to step (rnnserve_batch_size).
"""

from typing import Any

from pydantic import BaseModel, Field

from server.endpoint import Endpoint
from server.metrics import Metrics


class DurationStat(BaseModel):
    """How often, and how long together."""

    count: int
    ns: int


class InferenceStats(BaseModel):
    """Requests, and the runtime's calls."""

    success: DurationStat
    fail: DurationStat = Field(description="Errors, refused requests and clients that left.")
    queue: DurationStat = Field(description="Of answered requests, until the first call that works on them.")
    compute_input: DurationStat = Field(description="Not measured: 0.")
    compute_infer: DurationStat = Field(description="The runtime's calls.")
    compute_output: DurationStat = Field(description="Not measured: 0.")
    cache_hit: DurationStat = Field(description="Answers are not cached: 0.")
    cache_miss: DurationStat = Field(description="Answers are not cached: 0.")


class ModelStat(BaseModel):
    """One model."""

    name: str
    version: str
    last_inference: int = Field(description="When a request was last answered, milliseconds since 1970; 0: never.")
    inference_count: int = Field(description="Prompts, texts, sentences and rows that were answered.")
    execution_count: int = Field(description="The runtime's calls.")
    inference_stats: InferenceStats
    batch_stats: list[dict[str, Any]]


class StatsAnswer(BaseModel):
    """Each version that is loaded."""

    model_stats: list[ModelStat]


def statistics_of(endpoint: Endpoint, metrics: Metrics) -> ModelStat:
    """What a model has done."""
    found = metrics.totals(endpoint.id)
    none = DurationStat(count=0, ns=0)
    success, fail = [0.0, 0.0], [0.0, 0.0]
    for status, (count, seconds) in found.requests.items():
        outcome = success if status.startswith("2") else fail
        outcome[0] += count
        outcome[1] += seconds
    return ModelStat(
        name=endpoint.model.name,
        version=str(endpoint.model.version),
        last_inference=round(found.last_answer * 1000),
        inference_count=round(found.inferences),
        execution_count=round(found.calls[0]),
        inference_stats=InferenceStats(
            success=_stat(*success),
            fail=_stat(*fail),
            queue=_stat(*found.queue),
            compute_input=none,
            compute_infer=_stat(*found.calls),
            compute_output=none,
            cache_hit=none,
            cache_miss=none,
        ),
        batch_stats=[],
    )


def _stat(count: float, seconds: float) -> DurationStat:
    return DurationStat(count=round(count), ns=round(seconds * 1e9))
