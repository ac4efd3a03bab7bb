"""Loaded models with what serves them: engine, permits, counters; one class for each task."""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

from models.architecture import Task
from models.decoding.detokenizer import TokenTexts
from server.engine.engine import Engine
from server.engine.generation.engine import GenerationEngine
from server.engine.generation.prefix_cache import PrefixCache
from server.engine.sentiment.engine import SentimentEngine
from server.engine.translation.engine import TranslationEngine
from server.loaded_model import GenerationModel, LoadedModel, SentimentModel, TranslationModel
from server.metrics import EngineMetrics, Metrics
from server.permits import Permits
from server.settings import Settings


@dataclass(frozen=True)
class ServedModel:
    """What the tasks have in common; `model` and `engine` are the task's own."""

    task: ClassVar[Task]

    model: LoadedModel
    engine: Engine[Any, Any, Any]
    permits: Permits
    metrics: EngineMetrics

    @property
    def id(self) -> str:
        """What answers call the model: name/version."""
        return self.model.id


@dataclass(frozen=True)
class ServedGeneration(ServedModel):
    """A language model that is served."""

    task: ClassVar[Task] = "generation"

    model: GenerationModel
    engine: GenerationEngine
    token_texts: TokenTexts


@dataclass(frozen=True)
class ServedTranslation(ServedModel):
    """A translator that is served."""

    task: ClassVar[Task] = "translation"

    model: TranslationModel
    engine: TranslationEngine
    token_texts: TokenTexts


@dataclass(frozen=True)
class ServedSentiment(ServedModel):
    """A classifier that is served."""

    task: ClassVar[Task] = "sentiment"

    model: SentimentModel
    engine: SentimentEngine


def served_model(
    model: LoadedModel, settings: Settings, metrics: Metrics, loop: asyncio.AbstractEventLoop
) -> ServedModel:
    """Give a model an engine, started, whose news go to the loop."""
    served = _with_engine(model, settings, metrics)
    metrics.watch(
        model.id,
        backend=model.backend,
        precision=model.precision,
        requests_running=lambda: served.permits.num_taken,
        rows_running=lambda: served.engine.num_running,
        rows_waiting=lambda: served.engine.num_waiting,
    )
    served.engine.start(loop)
    return served


def _with_engine(model: LoadedModel, settings: Settings, metrics: Metrics) -> ServedModel:
    counters = metrics.engine_metrics(model.id)
    permits = Permits(model.id, settings.max_requests)
    match model:
        case GenerationModel():
            cache = PrefixCache(settings.prefix_cache_bytes)
            metrics.watch_cache(model.id, lambda: cache.num_bytes, lambda: cache.num_evicted)
            generation = GenerationEngine(
                model.id,
                model.steps,
                model.sequences,
                state_width=model.state_width,
                vocab_size=model.tokenizer.vocab_size,
                end_id=model.tokenizer.end_id,
                max_rows=settings.max_rows,
                prefill_tokens=settings.prefill_tokens,
                prefill_share=settings.prefill_share,
                stream_tokens=settings.stream_tokens,
                cache=cache,
                observer=counters,
            )
            return ServedGeneration(model, generation, permits, counters, TokenTexts(model.tokenizer.token_bytes))
        case TranslationModel():
            translation = TranslationEngine(
                model.id,
                model.steps,
                model.sequences,
                max_rows=settings.max_rows,
                encode_tokens=settings.encode_tokens,
                encode_share=settings.encode_share,
                observer=counters,
            )
            return ServedTranslation(model, translation, permits, counters, TokenTexts(model.tokenizer.token_bytes))
        case SentimentModel():
            sentiment = SentimentEngine(
                model.id,
                model.sequences,
                max_rows=settings.max_rows,
                classify_tokens=settings.classify_tokens,
                observer=counters,
            )
            return ServedSentiment(model, sentiment, permits, counters)
    raise TypeError(f"no engine serves a {type(model).__name__}")
