"""The tasks that the server serves, each with the engine that runs its models."""

from functools import partial
from typing import Any

from fastapi import APIRouter

from runtime.device import num_cores
from runtime.opening import CPU
from server.api.completions import completions_router
from server.api.forecast import forecast_router
from server.api.generate import generate_router
from server.api.hugging_face.text_classification import TEXT_CLASSIFICATION
from server.api.hugging_face.text_generation import TEXT_GENERATION
from server.api.hugging_face.token_classification import TOKEN_CLASSIFICATION
from server.api.hugging_face.translation import TRANSLATION as HUGGING_FACE_TRANSLATION
from server.api.inference.sequence import TENSORS
from server.api.inference.text import GENERATION_TENSORS, SENTIMENT_TENSORS, TAGGING_TENSORS, TRANSLATION_TENSORS
from server.api.libretranslate import libretranslate_router
from server.api.sentiment import sentiment_router
from server.api.tag import tag_router
from server.api.text_embeddings_inference import tei_router
from server.api.translate import translate_router
from server.endpoint import Limit, LoadedModel, ServerTask
from server.engine.classification.engine import ClassificationEngine
from server.engine.classification.scheduler import ClassificationScheduler
from server.engine.engine import AnyEngine, Engine
from server.engine.generation.lane import GenerationLane, GenerationScheduler
from server.engine.generation.prefix_cache import PrefixCache
from server.engine.lane import Observer
from server.engine.scheduler import Scheduler, WindowLength
from server.engine.sequence.lane import SequenceLane
from server.engine.sequence.request import Frames
from server.engine.translation.lane import TranslationLane, TranslationScheduler
from server.service import Service
from server.settings import Settings


def num_lanes(model: LoadedModel, settings: Settings) -> int:
    """Lanes of a model: as set, else one per core; one on a GPU, which computes one call at a time."""
    if model.backend != CPU:
        return 1
    return settings.lanes or num_cores()


def generation_engine(model: LoadedModel, settings: Settings, observer: Observer) -> Engine[Any]:
    """Of a model that generates text."""
    cache = PrefixCache(settings.prefix_cache_bytes)

    def lane(number: int) -> GenerationLane:
        sequences = model.opened.sequences()
        return GenerationLane(
            f"{model.id} {number}",
            GenerationScheduler(
                num_slots=settings.max_rows,
                prefill_tokens=settings.prefill_tokens,
                prefill_share=settings.prefill_share,
                prefill_max_rows=settings.light_rows,
                forced_tokens=settings.forced_tokens,
            ),
            WindowLength(settings.window_steps),
            steps=model.opened.steps(2 * settings.max_rows),
            sequences=sequences,
            decoder=model.opened.decoder(settings.max_rows),
            chooser=sequences if model.opened.has("choose") else None,
            beam_steps=lambda: model.opened.steps(2 * settings.max_rows),
            state_width=model.state_width,
            vocab_size=model.tokenizer.vocab_size,
            end_id=model.tokenizer.end_id,
            cache=cache,
            observer=observer,
        )

    return Engine(lane, num_lanes(model, settings), cache)


def translation_engine(model: LoadedModel, settings: Settings, observer: Observer) -> Engine[Any]:
    """Of a model that translates."""

    def lane(number: int) -> TranslationLane:
        return TranslationLane(
            f"{model.id} {number}",
            TranslationScheduler(
                num_slots=settings.max_rows,
                encode_tokens=settings.encode_tokens,
                encode_share=settings.encode_share,
            ),
            WindowLength(settings.window_steps),
            steps=model.opened.attention_steps(2 * settings.max_rows),
            sequences=model.opened.sequences(),
            decoder=model.opened.decoder(settings.max_rows),
            beam_decoder=lambda beam_size: model.opened.beam_decoder(settings.max_rows // beam_size, beam_size),
            observer=observer,
        )

    return Engine(lane, num_lanes(model, settings))


def classification_engine(graph: str, model: LoadedModel, settings: Settings, observer: Observer) -> AnyEngine:
    """Of a model that answers each text by one call of a graph (server.engine.classification)."""
    scheduler = ClassificationScheduler(
        max_texts=settings.max_rows, max_tokens=settings.classify_tokens, long_tokens=settings.long_tokens
    )
    lanes = num_lanes(model, settings)
    return ClassificationEngine(model.id, graph, model.opened.sequences, scheduler, num_lanes=lanes, observer=observer)


def sequence_engine(model: LoadedModel, settings: Settings, observer: Observer) -> Engine[Any]:
    """Of a model of frames."""
    signature = model.signature
    assert signature is not None, "a model of this task has one"

    def lane(number: int) -> SequenceLane:
        scheduler: Scheduler[Frames] = Scheduler(num_slots=settings.max_rows, prefill_share=settings.prefill_share)
        return SequenceLane(
            f"{model.id} {number}",
            scheduler,
            runner=model.opened.sequences(),
            signature=signature,
            has_state=model.state_width > 0,
            max_frames=settings.classify_tokens,
            observer=observer,
        )

    return Engine(lane, num_lanes(model, settings))


def generation_router(service: Service) -> APIRouter:
    """The routes of text generation: our own, and that of OpenAI's clients."""
    router = APIRouter()
    for part in (generate_router, completions_router):
        router.routes.extend(part(service).routes)
    return router


def sentiment_routes(service: Service) -> APIRouter:
    """The routes of sentiment: our own, and those of text-embeddings-inference's clients."""
    router = APIRouter()
    for part in (sentiment_router, tei_router):
        router.routes.extend(part(service).routes)
    return router


def translation_router(service: Service) -> APIRouter:
    """The routes of translation: our own, and that of LibreTranslate's clients."""
    router = APIRouter()
    for part in (translate_router, libretranslate_router):
        router.routes.extend(part(service).routes)
    return router


GENERATION = ServerTask(
    "generation",
    generation_router,
    generation_engine,
    lambda settings: Limit("prompt", settings.max_prompt_tokens, "RNNSERVE_MAX_PROMPT_TOKENS"),
    tensors=GENERATION_TENSORS,
    hugging_face=TEXT_GENERATION,
)
TRANSLATION = ServerTask(
    "translation",
    translation_router,
    translation_engine,
    lambda settings: Limit("text", settings.max_source_tokens, "RNNSERVE_MAX_SOURCE_TOKENS"),
    tensors=TRANSLATION_TENSORS,
    hugging_face=HUGGING_FACE_TRANSLATION,
)
SENTIMENT = ServerTask(
    "sentiment",
    sentiment_routes,
    partial(classification_engine, "classify"),
    lambda settings: Limit("text", settings.max_sentiment_tokens, "RNNSERVE_MAX_SENTIMENT_TOKENS"),
    tensors=SENTIMENT_TENSORS,
    hugging_face=TEXT_CLASSIFICATION,
)
SEQUENCE = ServerTask(
    "sequence",
    None,
    sequence_engine,
    lambda settings: Limit("inputs", settings.max_frames, "RNNSERVE_MAX_FRAMES"),
    TENSORS,
)
TAGGING = ServerTask(
    "tagging",
    tag_router,
    partial(classification_engine, "tag"),
    lambda settings: Limit("text", settings.max_tagging_tokens, "RNNSERVE_MAX_TAGGING_TOKENS"),
    tensors=TAGGING_TENSORS,
    hugging_face=TOKEN_CLASSIFICATION,
)
FORECAST = ServerTask(
    "forecast",
    forecast_router,
    sequence_engine,
    lambda settings: Limit("series", settings.max_frames, "RNNSERVE_MAX_FRAMES"),
    TENSORS,
)
TASKS = (GENERATION, TRANSLATION, SENTIMENT, TAGGING, SEQUENCE, FORECAST)
BY_NAME = {task.name: task for task in TASKS}
