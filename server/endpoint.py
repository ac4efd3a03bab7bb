"""A loaded model with what answers its requests: engine, limiter, counters."""

import asyncio
from dataclasses import dataclass
from functools import cached_property

from models.decoding.detokenizer import TokenTexts
from server.engine.engine import AnyEngine
from server.limiter import Limiter
from server.metrics import EngineMetrics, Metrics
from server.model import LoadedModel, ModelInfo
from server.settings import Settings
from server.task import ServerTask


@dataclass(frozen=True, eq=False)
class Endpoint:
    """One model that is served.

    Attributes:
        info: what is known of the model.
        engine: computes.
        limiter: how many of its requests are inside at once.
        metrics: counts.
    """

    info: ModelInfo
    engine: AnyEngine
    limiter: Limiter
    metrics: EngineMetrics

    @property
    def id(self) -> str:
        """What answers call the model: name/version."""
        return self.info.id

    @cached_property
    def token_texts(self) -> TokenTexts:
        """The texts of its tokens."""
        return TokenTexts(self.info.tokenizer.token_bytes)


def started_endpoint(model: LoadedModel, task: ServerTask, settings: Settings, metrics: Metrics) -> Endpoint:
    """Give a model an engine, started, whose outputs go to the running loop."""
    info = model.info
    counters = metrics.engine_metrics(info.id)
    engine = task.engine(model, settings, counters)
    engine.start(asyncio.get_running_loop())
    endpoint = Endpoint(info, engine, Limiter(f"Model {info.id}", settings.max_requests), counters)
    metrics.watch(
        info.id,
        backend=info.backend,
        precision=info.precision,
        requests_running=lambda: endpoint.limiter.num_taken,
        gauges=lambda: engine.gauges,
    )
    return endpoint
