"""Which engine runs a loaded model, made with the server's settings."""

from typing import Any

from server.engine.engine import Engine, Observer
from server.engine.generation.engine import GenerationEngine
from server.engine.generation.prefix_cache import PrefixCache
from server.engine.sentiment.engine import SentimentEngine
from server.engine.translation.engine import TranslationEngine
from server.loaded_model import GenerationModel, LoadedModel, SentimentModel, TranslationModel
from server.settings import Settings


def engine_of(model: LoadedModel, settings: Settings, observer: Observer) -> Engine[Any, Any, Any]:
    """An engine for a model, not started."""
    match model:
        case GenerationModel():
            return GenerationEngine(
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
                cache=PrefixCache(settings.prefix_cache_bytes),
                observer=observer,
            )
        case TranslationModel():
            return TranslationEngine(
                model.id,
                model.steps,
                model.sequences,
                max_rows=settings.max_rows,
                encode_tokens=settings.encode_tokens,
                encode_share=settings.encode_share,
                observer=observer,
            )
        case SentimentModel():
            return SentimentEngine(
                model.id,
                [model.sequences, *model.other_sequences],
                max_rows=settings.max_rows,
                classify_tokens=settings.classify_tokens,
                observer=observer,
            )
    raise TypeError(f"no engine serves a {type(model).__name__}")
