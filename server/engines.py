"""Which engine runs a loaded model, made with the server's settings."""

import os
from typing import Any

from runtime.opening import CPU
from runtime.runner import SequenceRunner
from server.engine.batch.engine import BatchEngine
from server.engine.batch.scheduler import BatchScheduler
from server.engine.engine import AnyEngine, Engine
from server.engine.generation.lane import GenerationLane, GenerationRunners
from server.engine.generation.prefix_cache import PrefixCache
from server.engine.generation.scheduler import GenerationScheduler
from server.engine.lane import Observer
from server.engine.translation.lane import TranslationLane, TranslationRunners
from server.engine.translation.scheduler import TranslationScheduler
from server.engine.window import WindowLength
from server.loaded_model import GenerationModel, LoadedModel, SentimentModel, TranslationModel
from server.settings import Settings


def engine_of(model: LoadedModel, settings: Settings, observer: Observer) -> AnyEngine:
    """An engine for a model, not started."""
    match model:
        case GenerationModel():
            return generation_engine(model, settings, observer)
        case TranslationModel():
            return translation_engine(model, settings, observer)
        case SentimentModel():
            return sentiment_engine(model, settings, observer)
    raise TypeError(f"no engine serves a {type(model).__name__}")


def num_lanes(model: LoadedModel, settings: Settings) -> int:
    """Lanes of a model: as set, else one per core; one on a GPU, which computes one call at a time."""
    if model.backend != CPU:
        return 1
    return settings.lanes or len(os.sched_getaffinity(0))


def generation_engine(model: GenerationModel, settings: Settings, observer: Observer) -> Engine[Any]:
    """Of a model that generates text."""
    cache = PrefixCache(settings.prefix_cache_bytes)

    def lane(number: int) -> GenerationLane:
        return GenerationLane(
            f"{model.id} {number}",
            GenerationRunners(
                steps=model.opened.steps(2 * settings.max_rows),
                sequences=model.opened.sequences(),
                decoder=model.opened.decoder(settings.max_rows),
                has_choose=model.opened.has("choose"),
            ),
            GenerationScheduler(
                max_rows=settings.max_rows,
                prefill_tokens=settings.prefill_tokens,
                prefill_share=settings.prefill_share,
                light_rows=settings.light_rows,
                forced_tokens=settings.forced_tokens,
            ),
            WindowLength(settings.window_steps),
            state_width=model.state_width,
            vocab_size=model.tokenizer.vocab_size,
            end_id=model.tokenizer.end_id,
            cache=cache,
            observer=observer,
        )

    return Engine(lane, num_lanes(model, settings), cache)


def translation_engine(model: TranslationModel, settings: Settings, observer: Observer) -> Engine[Any]:
    """Of a model that translates."""

    def lane(number: int) -> TranslationLane:
        return TranslationLane(
            f"{model.id} {number}",
            TranslationRunners(
                steps=model.opened.attention_steps(2 * settings.max_rows),
                sequences=model.opened.sequences(),
                decoder=model.opened.decoder(settings.max_rows),
            ),
            TranslationScheduler(
                max_rows=settings.max_rows,
                encode_tokens=settings.encode_tokens,
                encode_share=settings.encode_share,
            ),
            WindowLength(settings.window_steps),
            observer=observer,
        )

    return Engine(lane, num_lanes(model, settings))


def sentiment_engine(model: SentimentModel, settings: Settings, observer: Observer) -> BatchEngine:
    """Of a model that classifies texts."""

    def runner() -> SequenceRunner:
        return model.opened.sequences()

    scheduler = BatchScheduler[Any](
        max_rows=settings.max_rows, max_tokens=settings.classify_tokens, long_tokens=settings.long_tokens
    )
    return BatchEngine(model.id, "classify", runner, scheduler, num_lanes=num_lanes(model, settings), observer=observer)
