"""POST /v1/translate: from a checked request to an answer or a stream of events."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator
from starlette.responses import Response

from models.bundle import LanguageCode
from models.decoding.beam_search import Hypothesis
from models.decoding.options import TranslationOptions
from models.decoding.translated_text import TranslatedText, source_pieces
from models.tokenizer import END_TOKEN
from server.admission import working
from server.api.description import PlainRoute, described
from server.api.texts import read_texts
from server.api.validation import request_from, texts_from, texts_schema
from server.endpoint import Endpoint
from server.engine.translation.request import Translation, TranslationOutput
from server.errors import FieldError
from server.http.access import JsonAnswer, Record, new_id, new_seed, record_of
from server.http.body import read_body
from server.http.stream import EventStream
from server.service import Service
from server.task import Limit

MAX_TEXTS = 64


def _texts_from(value: Any) -> tuple[str, ...]:
    return texts_from(value, MAX_TEXTS)


class TranslateRequest(TranslationOptions):
    """Translate one or several texts."""

    model: Annotated[str | None, Field(description='"name" (highest version) or "name/2".')] = None
    text: Annotated[
        tuple[str, ...],
        BeforeValidator(_texts_from),
        WithJsonSchema(texts_schema(MAX_TEXTS)),
        Field(description="The text to translate, or several."),
    ]
    source: Annotated[
        LanguageCode | None, Field(description="Language to translate from (ISO 639-1); the model's if left out.")
    ] = None
    target: Annotated[
        LanguageCode | None, Field(description="Language to translate to (ISO 639-1); the model's if left out.")
    ] = None
    stream: Annotated[
        bool, Field(description="Send text as it is translated, as server-sent events; one text and beam_size 1.")
    ] = False

    @field_validator("stream")
    @classmethod
    def _one_greedy_text_is_streamed(cls, value: bool, info: ValidationInfo) -> bool:
        texts, beam_size = info.data.get("text", ()), info.data.get("beam_size", 1)  # absent when wrong themselves
        if value and len(texts) > 1:
            raise ValueError(f"one text can be streamed, not {len(texts)}; send a request for each")
        if value and beam_size > 1:
            raise ValueError(f"with beam_size {beam_size} no word is certain before the end; stream with beam_size 1")
        return value


class Alternative(BaseModel):
    """A further translation."""

    text: str
    score: Annotated[float, Field(description="The higher the better, at most 0.")]


class Alignment(BaseModel):
    """How much each target token attends to each source token."""

    source_tokens: Annotated[list[str], Field(description='What each source token stands for; "<eos>" at the end.')]
    target_tokens: Annotated[list[str], Field(description='What each target token stands for; "<eos>" at the end.')]
    weights: Annotated[list[list[float]], Field(description="A row for each target token; its sum is 1.")]


class TranslationAnswer(BaseModel):
    """One text's translation; in a stream, what is new of it."""

    text: str
    score: Annotated[float | None, Field(description="The higher the better, at most 0; null while a stream goes on.")]
    alternatives: Annotated[list[Alternative] | None, Field(description="If asked for, the best first.")] = None
    alignment: Annotated[Alignment | None, Field(description="If asked for; in a stream's last event.")] = None


class TranslateUsage(BaseModel):
    """What was counted."""

    source_tokens: int
    target_tokens: Annotated[int, Field(description="Tokens of the best translations, end tokens counted.")]


class TranslateAnswer(BaseModel):
    """The answer; a stream's events have this shape, and its last one alone has `usage` and `timings`."""

    id: str
    model: Annotated[str, Field(description="name/version of the model that answered.")]
    source: Annotated[str, Field(description="Language translated from.")]
    target: Annotated[str, Field(description="Language translated to.")]
    seed: Annotated[int | None, Field(description="Where tokens were drawn: with it they can be had again.")] = None
    translations: Annotated[list[TranslationAnswer], Field(description="In the order of the texts.")]
    usage: TranslateUsage


_EXAMPLE = {"text": "The house is small.", "source": "en", "target": "zh", "beam_size": 4, "alternatives": 2}


def translate_router(service: Service) -> APIRouter:
    """The route of translation."""
    router = APIRouter(tags=["translation"], route_class=PlainRoute)

    @router.post(
        "/v1/translate",
        summary="Translate a text",
        **described(TranslateRequest, TranslateAnswer, _EXAMPLE, is_timed=True),
    )
    async def translate(request: Request) -> Response:
        """Translations by greedy or beam search, with other answers and the attention on request, or a stream."""
        record = record_of(request)
        record.task = "translation"
        body = await read_body(request.scope["headers"], request.receive, service.settings)
        registry = service.registry
        asked = request_from(TranslateRequest, body)
        endpoint = registry.find_translation(asked.model, asked.source, asked.target)
        record.model = endpoint.id
        answering = _Answering(service, endpoint, request, record, asked)
        if asked.stream:
            events = answering.events()
            return EventStream(await anext(events), events, service.settings.send_timeout_seconds)
        return JsonAnswer(await answering.whole())

    return router


class _Answering:
    """One request on its way to its answer."""

    def __init__(
        self, service: Service, endpoint: Endpoint, request: Request, record: Record, asked: TranslateRequest
    ) -> None:
        self._service = service
        self._endpoint = endpoint
        self._request = request
        self._record = record
        self._asked = asked
        self._id = f"tra-{new_id()}"
        self._unknown_id = endpoint.info.tokenizer.unknown_id if asked.replace_unknown else None
        self._seed: dict[str, int] = {}  # where tokens are drawn
        self._sources: list[list[str]] = []  # what each text's tokens stand for

    async def whole(self) -> dict[str, Any]:
        """The whole answer. Raises ApiError."""
        async with self._working() as translation:
            ended: list[TranslationOutput] = []
            while len(ended) < len(translation.items):
                ended += await translation.outputs.get()
        ended.sort(key=lambda progress: progress.number)
        results = [progress.results or [] for progress in ended]
        entries = [self._entry(number, found) for number, found in enumerate(results)]
        return self._answer(entries) | {"usage": self._usage(results)}

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """The events of a stream. Raises ApiError."""
        async with self._working() as translation:
            text = self._text_of(0)
            is_over = False
            while not is_over:
                pieces: list[str] = []
                entry: dict[str, Any] = {"score": None}
                usage: dict[str, Any] = {}
                for progress in await translation.outputs.get():
                    rows = [None] * len(progress.ids) if progress.attention is None else progress.attention
                    pieces += [text.push(token, row) for token, row in zip(progress.ids, rows, strict=True)]
                    if progress.results is not None:
                        is_over = True
                        pieces.append(text.finish())
                        entry = self._entry(0, progress.results)
                        usage = {
                            "usage": self._usage([progress.results]),
                            "timings": self._record.timings(translation.times),
                        }
                if is_over or any(pieces):
                    yield self._answer([entry | {"text": "".join(pieces)}]) | usage

    def _working(self) -> AbstractAsyncContextManager[Translation]:
        return working(self._service, self._endpoint, self._request, self._translation)

    async def _translation(self) -> Translation:
        """What the engine works on. Raises FieldError."""
        asked, model, settings = self._asked, self._endpoint.info, self._service.settings
        if asked.beam_size > settings.max_rows:
            raise FieldError(
                f"beam_size {asked.beam_size} is more than the {settings.max_rows} rows that are stepped together "
                "(RNNSERVE_MAX_ROWS).",
                param="beam_size",
            )
        limit = Limit("text", settings.max_source_tokens, "RNNSERVE_MAX_SOURCE_TOKENS")
        texts = await read_texts(asked.text, model.tokenizer, limit)
        self._record.prompt_tokens = sum(map(len, texts))
        if asked.alignment and self._record.prompt_tokens > limit.tokens:
            raise FieldError(
                f"alignment: the texts have {self._record.prompt_tokens} tokens together; with alignment at most "
                f"{limit.tokens} are allowed ({limit.setting}). Send fewer texts.",
                param="alignment",
            )
        seed = new_seed() if asked.seed is None else asked.seed
        self._seed = {} if asked.sampling is None else {"seed": seed}
        translation = Translation(asked, seed, asked.stream, asked.alignment or self._unknown_id is not None)
        for text, ids in zip(asked.text, texts, strict=True):
            needs_pieces = asked.alignment or self._unknown_id is not None
            self._sources.append(source_pieces(text, ids, model.tokenizer) if needs_pieces else [])
            assert model.end_id is not None, "loading has checked it"
            translation.add_source([*ids, model.end_id], model.end_id)
        return translation

    def _text_of(self, number: int) -> TranslatedText:
        return TranslatedText(self._endpoint.token_texts, self._unknown_id, self._sources[number])

    def _answer(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        languages = self._endpoint.info.languages
        assert languages is not None, "a bundle of this task has languages"
        return {
            "id": self._id,
            "model": self._endpoint.id,
            "source": languages.source,
            "target": languages.target,
            **self._seed,
            "translations": entries,
        }

    def _entry(self, number: int, results: list[Hypothesis]) -> dict[str, Any]:
        """One text's translation. An alternative whose text is there already, spelt with other tokens, is left out."""
        best = results[0]
        by_text: dict[str, float] = {}
        for found in results:
            by_text.setdefault(self._text_of(number).whole(found.ids, found.attention), found.score)
        (text, score), *others = by_text.items()
        entry: dict[str, Any] = {"text": text, "score": score}
        if self._asked.alternatives:
            entry["alternatives"] = [{"text": text, "score": score} for text, score in others]
        if self._asked.alignment:
            pieces = [
                self._text_of(number).whole([i], row[None]) for i, row in zip(best.ids, best.attention, strict=False)
            ]
            entry["alignment"] = {
                "source_tokens": [*self._sources[number], END_TOKEN],
                "target_tokens": pieces + [END_TOKEN] * (best.finish_reason == "stop"),
                "weights": best.attention,
            }
        return entry

    def _usage(self, results: list[list[Hypothesis]]) -> dict[str, int]:
        best = [found[0] for found in results]
        self._record.completion_tokens = sum(len(found.ids) + (found.finish_reason == "stop") for found in best)
        return {"source_tokens": self._record.prompt_tokens, "target_tokens": self._record.completion_tokens}
