"""POST /v1/translate: from a checked request to an answer or a stream of events."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, ValidationInfo, field_validator
from starlette.responses import Response

from models.bundle import LanguageCode, Languages
from models.decoding.beam_search import Hypothesis
from models.decoding.options import TranslationOptions
from models.decoding.translated_text import TranslatedText, source_pieces
from models.tokenizer import END_TOKEN
from server.admission import Texts, asked_of, read_texts, working
from server.api.description import Timings, described
from server.endpoint import Endpoint, Registry
from server.engine.translation.request import Translation, TranslationOutput
from server.errors import FieldError
from server.http.access import JsonAnswer, PlainRoute, new_id, new_seed, record_of
from server.http.stream import EventStream
from server.service import Service

TASK = "translation"


class TranslateRequest(TranslationOptions):
    """Translate one or several texts."""

    model: str | None = Field(None, description='"name" (highest version) or "name/2".')
    text: Texts = Field(description="The text to translate, or several.")
    source: LanguageCode | None = Field(
        None, description="Language to translate from (ISO 639-1); the model's if left out."
    )
    target: LanguageCode | None = Field(
        None, description="Language to translate to (ISO 639-1); the model's if left out."
    )
    stream: bool = Field(
        False, description="Send text as it is translated, as server-sent events; one text and beam_size 1."
    )

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
    score: float = Field(description="The higher the better, at most 0.")


class Alignment(BaseModel):
    """How much each target token attends to each source token."""

    source_tokens: list[str] = Field(description='What each source token stands for; "<eos>" at the end.')
    target_tokens: list[str] = Field(description='What each target token stands for; "<eos>" at the end.')
    weights: list[list[float]] = Field(description="A row for each target token; its sum is 1.")


class TranslationAnswer(BaseModel):
    """One text's translation; in a stream, what is new of it."""

    text: str
    score: float | None = Field(description="The higher the better, at most 0; null while a stream goes on.")
    alternatives: list[Alternative] | None = Field(None, description="If asked for, the best first.")
    alignment: Alignment | None = Field(None, description="If asked for; in a stream's last event.")


class TranslateUsage(BaseModel):
    """What was counted."""

    source_tokens: int
    target_tokens: int = Field(description="Tokens of the best translations, end tokens counted.")


class TranslateAnswer(BaseModel):
    """The answer."""

    id: str
    model: str = Field(description="name/version of the model that answered.")
    source: str = Field(description="Language translated from.")
    target: str = Field(description="Language translated to.")
    seed: int | None = Field(None, description="Where tokens were drawn: with it they can be had again.")
    translations: list[TranslationAnswer] = Field(description="In the order of the texts.")
    usage: TranslateUsage


class TranslateEvent(TranslateAnswer):
    """An event of a stream: what is new of the answer; the last one alone has `usage` and `timings`."""

    usage: TranslateUsage | None = None  # type: ignore[assignment]
    timings: Timings | None = None


_EXAMPLE = {"text": "The house is small.", "source": "en", "target": "zh", "beam_size": 4, "alternatives": 2}


def translate_router(service: Service) -> APIRouter:
    """The route of translation."""
    router = APIRouter(tags=["translation"], route_class=PlainRoute)

    @router.post(
        "/v1/translate",
        summary="Translate a text",
        **described(TranslateRequest, TranslateAnswer, _EXAMPLE, event=TranslateEvent, is_timed=True),
    )
    async def translate(request: Request) -> Response:
        """Translations by greedy or beam search, with other answers and the attention on request, or a stream."""
        asked = await asked_of(service, request, TranslateRequest, TASK)
        answering = _Answering(service, _endpoint_of(service.registry, asked), request, asked)
        if asked.stream:
            events = answering.events()
            return EventStream(await anext(events), events)
        return JsonAnswer(await answering.whole())

    return router


def _endpoint_of(registry: Registry, asked: TranslateRequest) -> Endpoint:
    """The model that a request means: the one it names, or the one that has its languages.

    Raises:
        ModelNotFoundError: no model of that name is loaded.
        FieldError: the model has other languages, or no model has these; the message lists the pairs there are. Or
            several have them, and none is named and none is the default.
    """
    source, target = asked.source, asked.target

    def fits(item: Endpoint) -> bool:
        languages = _languages_of(item)
        return source in (None, languages.source) and target in (None, languages.target)

    if asked.model is not None or (source is None and target is None):
        choices = [registry.find(TASK, asked.model)]
        who = f"Model {choices[0].id} translates"
    else:
        choices = [item for item in registry.by_name if item.model.task == TASK]
        who = "The loaded models translate"
    fitting = [item for item in choices if fits(item)]
    if fitting:
        several = f"{len(fitting)} translation models have these languages"
        return registry.only_or_default(TASK, fitting, several, fits)
    pairs = sorted({(pair.source, pair.target) for pair in map(_languages_of, choices)})
    is_source_wrong = source is not None and source not in {first for first, _ in pairs}
    wanted = f"{source or 'any language'} to {target or 'any language'}"
    listed = ", ".join(f"{first} to {second}" for first, second in pairs) or "nothing"
    raise FieldError(
        f"{who} {listed}, not {wanted}. Send a pair that is there, or load a model that has it.",
        param="source" if is_source_wrong or target is None else "target",
        code="languages_not_served",
    )


def _languages_of(endpoint: Endpoint) -> Languages:
    languages = endpoint.model.languages
    assert languages is not None, "a bundle of this task has languages"
    return languages


@dataclass
class _Answering:
    """One request on its way to its answer."""

    service: Service
    endpoint: Endpoint
    request: Request
    asked: TranslateRequest
    seed: dict[str, int] = field(default_factory=dict)  # where tokens are drawn
    sources: list[list[str]] = field(default_factory=list)  # what each text's tokens stand for

    def __post_init__(self) -> None:
        self.id = f"tra-{new_id()}"
        self.record = record_of(self.request)
        self.unknown_id = self.endpoint.model.tokenizer.unknown_id if self.asked.replace_unknown else None

    async def whole(self) -> dict[str, Any]:
        """The whole answer. Raises ApiError."""
        async with working(self.service, self.endpoint, self.request, self._translation) as translation:
            ended: list[TranslationOutput] = []
            while len(ended) < len(translation.items):
                ended += await translation.outputs.get()
            ended.sort(key=lambda progress: progress.number)
            results = [progress.results or [] for progress in ended]
            entries = [self._entry(number, found) for number, found in enumerate(results)]
            return self._answer(entries) | {"usage": self._usage(results)}

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """The events of a stream. Raises ApiError."""
        async with working(self.service, self.endpoint, self.request, self._translation) as translation:
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
                            "timings": self.record.timings(translation.times),
                        }
                if is_over or any(pieces):
                    yield self._answer([entry | {"text": "".join(pieces)}]) | usage

    async def _translation(self, hold: Callable[[int], None]) -> Translation:
        """What the engine works on. Raises FieldError."""
        asked, tokenizer, limit = self.asked, self.endpoint.model.tokenizer, self.endpoint.limit
        max_rows = self.service.settings.max_rows
        if asked.beam_size > max_rows:
            raise FieldError(
                f"beam_size {asked.beam_size} is more than the {max_rows} rows that are stepped together "
                "(RNNSERVE_MAX_ROWS).",
                param="beam_size",
            )
        texts = await read_texts(asked.text, tokenizer, limit, hold)
        self.record.prompt_tokens = sum(map(len, texts))
        if asked.alignment and self.record.prompt_tokens > limit.tokens:
            raise FieldError(
                f"alignment: the texts have {self.record.prompt_tokens} tokens together; with alignment at most "
                f"{limit.tokens} are allowed ({limit.setting}). Send fewer texts.",
                param="alignment",
            )
        seed = new_seed() if asked.seed is None else asked.seed
        self.seed = {} if asked.sampling is None else {"seed": seed}
        needs_attention = asked.alignment or self.unknown_id is not None
        translation = Translation(asked, seed, asked.stream, needs_attention)
        assert tokenizer.end_id is not None, "loading has checked it"
        for text, ids in zip(asked.text, texts, strict=True):
            self.sources.append(source_pieces(text, ids, tokenizer) if needs_attention else [])
            translation.add_source([*ids, tokenizer.end_id], tokenizer.end_id)
        return translation

    def _text_of(self, number: int) -> TranslatedText:
        return TranslatedText(self.endpoint.token_texts, self.unknown_id, self.sources[number])

    def _answer(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        languages = _languages_of(self.endpoint)
        return {
            "id": self.id,
            "model": self.endpoint.id,
            "source": languages.source,
            "target": languages.target,
            **self.seed,
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
        if self.asked.alternatives:
            entry["alternatives"] = [{"text": text, "score": score} for text, score in others]
        if self.asked.alignment:
            pieces = [
                self._text_of(number).whole([i], row[None]) for i, row in zip(best.ids, best.attention, strict=False)
            ]
            entry["alignment"] = {
                "source_tokens": [*self.sources[number], END_TOKEN],
                "target_tokens": pieces + [END_TOKEN] * (best.finish_reason == "stop"),
                "weights": best.attention,
            }
        return entry

    def _usage(self, results: list[list[Hypothesis]]) -> dict[str, int]:
        best = [found[0] for found in results]
        self.record.completion_tokens = sum(len(found.ids) + (found.finish_reason == "stop") for found in best)
        return {"source_tokens": self.record.prompt_tokens, "target_tokens": self.record.completion_tokens}
