"""Loaded models with what serves them: engine, permits, counters; one class for each task."""

import asyncio
from dataclasses import dataclass
from typing import ClassVar

from models.decoding.detokenizer import TokenTexts
from models.tasks import TaskName
from server.engine.engine import AnyEngine
from server.engines import engine_of
from server.loaded_model import (
    GenerationFacts,
    LoadedModel,
    ModelFacts,
    SentimentFacts,
    TranslationFacts,
    facts_of,
    texts_of,
)
from server.metrics import EngineMetrics, Metrics
from server.permits import Permits
from server.settings import Settings


@dataclass(frozen=True)
class ServedModel:
    """What the tasks have in common; `model` is the task's own."""

    task: ClassVar[TaskName]

    model: ModelFacts
    engine: AnyEngine
    permits: Permits
    metrics: EngineMetrics

    @property
    def id(self) -> str:
        """What answers call the model: name/version."""
        return self.model.id


@dataclass(frozen=True)
class ServedGeneration(ServedModel):
    """A language model that is served."""

    task: ClassVar[TaskName] = "generation"

    model: GenerationFacts
    token_texts: TokenTexts


@dataclass(frozen=True)
class ServedTranslation(ServedModel):
    """A translator that is served."""

    task: ClassVar[TaskName] = "translation"

    model: TranslationFacts
    token_texts: TokenTexts


@dataclass(frozen=True)
class ServedSentiment(ServedModel):
    """A classifier that is served."""

    task: ClassVar[TaskName] = "sentiment"

    model: SentimentFacts


def served_model(loaded: LoadedModel, settings: Settings, metrics: Metrics) -> ServedModel:
    """Give a model an engine, started, whose outputs go to the running loop."""
    facts = facts_of(loaded)
    counters = metrics.engine_metrics(facts.id)
    engine = engine_of(loaded, settings, counters)
    engine.start(asyncio.get_running_loop())
    served = _served(facts, engine, Permits(facts.id, settings.max_requests), counters, texts_of(facts))
    metrics.watch(
        facts.id,
        backend=facts.backend,
        precision=facts.precision,
        requests_running=lambda: served.permits.num_taken,
        rows_running=lambda: engine.gauges.num_running,
        rows_waiting=lambda: engine.gauges.num_waiting,
    )
    if isinstance(facts, GenerationFacts):
        metrics.watch_cache(facts.id, lambda: engine.gauges.cache_bytes, lambda: engine.gauges.cache_evictions)
    return served


def _served(
    facts: ModelFacts, engine: AnyEngine, permits: Permits, counters: EngineMetrics, texts: TokenTexts | None
) -> ServedModel:
    match facts:
        case GenerationFacts() if texts is not None:
            return ServedGeneration(facts, engine, permits, counters, texts)
        case TranslationFacts() if texts is not None:
            return ServedTranslation(facts, engine, permits, counters, texts)
        case SentimentFacts():
            return ServedSentiment(facts, engine, permits, counters)
    raise TypeError(f"nothing serves a {type(facts).__name__}")
