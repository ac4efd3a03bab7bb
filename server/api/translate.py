"""POST /v1/translate: from a checked request to an answer or a stream of events; other dialects use `Answering`."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, ValidationInfo, field_validator
from starlette.responses import Response

from models.bundle import Languages
from models.decoding.beam_search import Hypothesis
from models.decoding.options import TranslationOptions
from models.decoding.translated_text import TranslatedText
from models.tokenizer import END_TOKEN
from server.admission import Texts, asked_of, beside_loop, check_characters, check_tokens, working
from server.api.description import Timings, described
from server.endpoint import Endpoint, Registry
from server.engine.translation.request import Translation, TranslationOutput
from server.errors import FieldError
from server.http.access import JsonAnswer, PlainRoute, new_id, new_seed, record_of
from server.http.stream import EventStream
from server.service import Service
from server.text.languages import Code, Detected, is_loaded, mismatch, scripts_of
from server.text.passage import Passage, Reader, Rendered, Sentence
from server.text.warnings import warnings_of

TASK = "translation"
_SHORT = 1000  # characters of a request; to read more at once would hold up the event loop
MAX_SENTENCES = 4096  # of a request
_MANY = 100  # sentences; to hand more to the engine would hold up the event loop
_FEW = 8  # sentences; likewise to put more translations together
_MANY_NUMBERS = 0.01  # share of the training sources without a letter from which on a model reads numbers alone


class TranslateRequest(TranslationOptions):
    """Translate one or several texts."""

    model: str | None = Field(None, description='"name" (highest version) or "name/2".')
    text: Texts = Field(description="The text to translate, or several.")
    source: Code | None = Field(
        None, description="Language to translate from (ISO 639-1, such as en; EN and en-US are the same)."
    )
    target: Code | None = Field(None, description="Language to translate to; of both, the model's if left out.")
    split_sentences: bool = Field(
        True,
        description="Translate each text sentence by sentence, copy what the model cannot know, and put it together "
        "again; false: the model reads each text whole and as it is.",
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


class AlignedSentence(BaseModel):
    """A sentence of the text and its translation, by their characters."""

    source_start: int
    source_end: int
    target_start: int
    target_end: int
    is_copied: bool = Field(description="Whether the model has not read it.")


class Alignment(BaseModel):
    """How much each target token attends to each source token, of all sentences that the model has read."""

    source_tokens: list[str] = Field(description='What each source token stands for; "<eos>" at a sentence\'s end.')
    target_tokens: list[str] = Field(description='What each target token stands for; "<eos>" at a sentence\'s end.')
    weights: list[list[float]] = Field(
        description="A row for each target token; its sum is 1, and it is 0 outside of its sentence."
    )
    sentences: list[AlignedSentence] = Field(description="In order.")


class TranslationWarning(BaseModel):
    """Something that the translation leaves open."""

    code: Literal["truncated", "language_mismatch", "unknown_text", "copied", "sentence_cut"]
    message: str


class TranslationAnswer(BaseModel):
    """One text's translation; in a stream, what is new of it."""

    text: str
    score: float | None = Field(
        description="The higher the better, at most 0; of several sentences their sum. Null while a stream goes on."
    )
    finish_reason: Literal["stop", "length"] | None = Field(
        description="length: a sentence's translation has as many tokens as it may and is cut off; null while a "
        "stream goes on."
    )
    detected_language: str | None = Field(None, description="With the warning language_mismatch.")
    warnings: list[TranslationWarning] | None = Field(None, description="If there are any; in a stream's last event.")
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
        endpoint = translator_of(service.registry, asked.model, asked.source, asked.target)
        answering = Answering(service, endpoint, request, asked)
        if asked.stream:
            events = answering.events()
            return EventStream(await anext(events), events)
        return JsonAnswer(await answering.whole())

    return router


def is_long(texts: Sequence[str]) -> bool:
    """Whether finding out what texts hold takes so long that it would hold up the event loop."""
    return not is_loaded() or sum(map(len, texts)) > _SHORT


async def translated(service: Service, request: Request, asked: TranslateRequest) -> dict[str, Any]:
    """The whole answer, for other dialects. Raises ApiError."""
    endpoint = translator_of(service.registry, asked.model, asked.source, asked.target)
    return await Answering(service, endpoint, request, asked).whole()


def translator_of(registry: Registry, model: str | None, source: str | None, target: str | None) -> Endpoint:
    """The model that a request means: the one it names, or the one that has its languages.

    Raises:
        ModelNotFoundError: no model of that name is loaded.
        FieldError: the model has other languages, or no model has these; the message lists the pairs there are. Or
            several have them, and none is named and none is the default.
    """

    def fits(item: Endpoint) -> bool:
        languages = languages_of(item)
        return source in (None, languages.source) and target in (None, languages.target)

    if model is not None or (source is None and target is None):
        choices = [registry.find(TASK, model)]
        who = f"Model {choices[0].id} translates"
    else:
        choices = [item for item in registry.by_name if item.model.task == TASK]
        who = "The loaded models translate"
    fitting = [item for item in choices if fits(item)]
    if fitting:
        several = f"{len(fitting)} translation models have these languages"
        return registry.only_or_default(TASK, fitting, several, fits)
    pairs = sorted({(pair.source, pair.target) for pair in map(languages_of, choices)})
    is_source_wrong = source is not None and source not in {first for first, _ in pairs}
    wanted = f"{source or 'any language'} to {target or 'any language'}"
    listed = ", ".join(f"{first} to {second}" for first, second in pairs) or "nothing"
    raise FieldError(
        f"{who} {listed}, not {wanted}. Send a pair that is there, or load a model that has it.",
        param="source" if is_source_wrong or target is None else "target",
        code="languages_not_served",
    )


def languages_of(endpoint: Endpoint) -> Languages:
    """The languages of a translator."""
    languages = endpoint.model.languages
    assert languages is not None, "a bundle of this task has languages"
    return languages


def reader_of(endpoint: Endpoint, max_sentence_tokens: int, *, replaces_unknown: bool) -> Reader:
    """How a translator reads a text.

    Args:
        endpoint: the model.
        max_sentence_tokens: of a sentence that is read whole, where the bundle does not say how long those were that
            the model was trained on.
        replaces_unknown: whether an unknown token is replaced by what it attends to.
    """
    model, languages = endpoint.model, languages_of(endpoint)
    seen = model.experience
    if seen.sources_without_letters is None:
        reads_numbers = model.tokenizer.kind == "character"
    else:
        reads_numbers = seen.sources_without_letters > _MANY_NUMBERS * (seen.train_pairs or 1)
    return Reader(
        model.tokenizer,
        endpoint.token_texts,
        languages.source,
        languages.target,
        seen.longest_source_tokens or max_sentence_tokens,
        reads_numbers,
        model.tokenizer.unknown_id if replaces_unknown else None,
    )


@dataclass
class Answering:
    """One request on its way to its answer.

    Attributes:
        passages: makes the passages of what a model reads; by default one of each text.
    """

    service: Service
    endpoint: Endpoint
    request: Request
    asked: TranslateRequest
    passages: Callable[[Reader], list[Passage]] | None = None
    seed: dict[str, int] = field(default_factory=dict)  # where tokens are drawn
    planned: list[Passage] = field(default_factory=list)
    detected: list[Detected | None] = field(default_factory=list)  # of each passage, its language if it is unexpected

    def __post_init__(self) -> None:
        self.id = f"tra-{new_id()}"
        self.record = record_of(self.request)
        self.reader = reader_of(
            self.endpoint, self.service.settings.max_sentence_tokens, replaces_unknown=self.asked.replace_unknown
        )

    async def whole(self) -> dict[str, Any]:
        """The whole answer. Raises ApiError."""
        results = await self.results()
        entries = await beside_loop(lambda: self.entries(results), is_long=len(results) > _FEW)
        return self._answer(entries) | {"usage": self._usage(results)}

    async def results(self) -> list[list[Hypothesis]]:
        """What the search found for each sentence that is read, of all passages in order. Raises ApiError."""
        async with working(self.service, self.endpoint, self.request, self._translation) as translation:
            ended: list[TranslationOutput] = []
            while len(ended) < len(translation.items):
                ended += await translation.outputs.get()
            ended.sort(key=lambda progress: progress.number)
            return [progress.results or [] for progress in ended]

    def entries(self, results: Sequence[list[Hypothesis]]) -> list[dict[str, Any]]:
        """Each passage's translation, as TranslationAnswer has it."""
        waiting = iter(results)
        return [
            self._entry(number, [next(waiting) if sentence.read else [] for sentence in passage.sentences])
            for number, passage in enumerate(self.planned)
        ]

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """The events of a stream: sentence after sentence. Raises ApiError."""
        async with working(self.service, self.endpoint, self.request, self._translation) as translation:
            (passage,) = self.planned
            stream = _Stream(passage, self.reader)
            while not stream.is_over:
                for progress in await translation.outputs.get() if translation.items else ():
                    stream.add(progress)
                text = stream.take()
                entry: dict[str, Any] = {"score": None, "finish_reason": None}
                rest: dict[str, Any] = {}
                if stream.is_over:
                    results = [found for found in stream.results if found is not None]
                    (entry,) = self.entries(results)
                    rest = {"usage": self._usage(results), "timings": self.record.timings(translation.times)}
                if stream.is_over or text:
                    yield self._answer([entry | {"text": text}]) | rest

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
        check_characters(asked.text, tokenizer, limit, hold)
        await beside_loop(self._plan, is_long=sum(map(len, asked.text)) > _SHORT)
        doubtful = [passage.text for passage in self.planned if not self._has_own_words(passage.text)]
        if doubtful:
            source = self.reader.source
            found = await beside_loop(
                lambda: {text: mismatch(text, source) for text in doubtful}, is_long=is_long(doubtful)
            )
            self.detected = [found.get(passage.text) for passage in self.planned]
        counts = [passage.num_tokens for passage in self.planned]
        check_tokens(asked.text if self.passages is None else [""] * len(counts), counts, limit)
        self.record.prompt_tokens = sum(counts)
        if asked.alignment and self.record.prompt_tokens > limit.tokens:
            raise FieldError(
                f"alignment: the texts have {self.record.prompt_tokens} tokens together; with alignment at most "
                f"{limit.tokens} are allowed ({limit.setting}). Send fewer texts.",
                param="alignment",
            )
        num_sentences = sum(len(passage.sentences) for passage in self.planned)
        if num_sentences > MAX_SENTENCES:
            raise FieldError(
                f"{limit.field}: the texts have {num_sentences} sentences together; at most {MAX_SENTENCES} are "
                "allowed. Send them in several requests.",
                param=limit.field,
                code="request_too_large",
            )
        return await beside_loop(self._requested, is_long=num_sentences > _MANY)

    def _requested(self) -> Translation:
        """What the engine works on, of texts that have been read. In any thread."""
        asked, end_id = self.asked, self.endpoint.model.tokenizer.end_id
        assert end_id is not None, "loading has checked it"
        seed = new_seed() if asked.seed is None else asked.seed
        self.seed = {} if asked.sampling is None else {"seed": seed}
        read = [sentence for passage in self.planned for sentence in passage.sentences if sentence.read]
        needs_attention = (
            asked.alignment or self.reader.unknown_id is not None or any(sentence.needs_attention for sentence in read)
        )
        translation = Translation(asked, seed, asked.stream, needs_attention)
        longest = self.endpoint.model.experience.longest_target_tokens
        for sentence in read:
            translation.add_source([*sentence.ids, end_id], end_id, longest)
        if not read:
            translation.times.note_began()
        return translation

    def _plan(self) -> None:
        """Read the texts. In any thread."""
        if self.passages is None:
            self.planned = [Passage(text, self.reader, is_split=self.asked.split_sentences) for text in self.asked.text]
        else:
            self.planned = self.passages(self.reader)
        self.detected = [None] * len(self.planned)

    def _has_own_words(self, text: str) -> bool:
        """Whether a text's words show that it is in the model's language; of most texts they do."""
        source, target = self.reader.source, self.reader.target
        return scripts_of(source).isdisjoint(scripts_of(target)) and self.endpoint.vocabulary.knows_words_of(text)

    def _answer(self, entries: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "model": self.endpoint.id,
            "source": self.reader.source,
            "target": self.reader.target,
            **self.seed,
            "translations": entries,
        }

    def _entry(self, number: int, results: list[list[Hypothesis]]) -> dict[str, Any]:
        """One passage's translation.

        Args:
            number: the passage's.
            results: of each of its sentences; none of one that is copied.
        """
        passage = self.planned[number]
        rendered = [
            [passage.rendered(sentence, hypothesis) for hypothesis in found]
            if sentence.read
            else [Rendered(passage.copied(sentence), 0.0, [], [], False)]
            for sentence, found in zip(passage.sentences, results, strict=True)
        ]
        best = [found[0] for found in rendered]
        (text, score), *others = _ranked(passage, rendered, 1 + self.asked.alternatives)
        is_cut_off = any(found.is_cut_off for found in best)
        entry: dict[str, Any] = {"text": text, "score": score, "finish_reason": "length" if is_cut_off else "stop"}
        detected = self.detected[number]
        if detected is not None:
            entry["detected_language"] = detected.language
        warnings = warnings_of(passage, best, detected, self.reader.source)
        if warnings:
            entry["warnings"] = [{"code": code, "message": message} for code, message in warnings]
        if self.asked.alternatives:
            entry["alternatives"] = [{"text": text, "score": score} for text, score in others]
        if self.asked.alignment:
            entry["alignment"] = self._alignment(passage, [found[0] for found in results if found], best)
        return entry

    def _alignment(self, passage: Passage, results: list[Hypothesis], best: list[Rendered]) -> dict[str, Any]:
        """Of all sentences that were read, one matrix."""
        read = [sentence for sentence in passage.sentences if sentence.read]
        width = sum(len(sentence.pieces) + 1 for sentence in read)
        sources: list[str] = []
        targets: list[str] = []
        weights: list[list[float]] = []
        for sentence, found in zip(read, results, strict=True):
            text = TranslatedText(self.reader.token_texts, self.reader.unknown_id, sentence.pieces)
            targets += [text.whole([i], row[None]) for i, row in zip(found.ids, found.attention, strict=False)]
            targets += [END_TOKEN] * (found.finish_reason == "stop")
            before, after = len(sources), width - len(sources) - len(sentence.pieces) - 1
            weights += [[0.0] * before + row + [0.0] * after for row in found.attention.tolist()]
            sources += [*sentence.pieces, END_TOKEN]
        spans = []
        end = 0
        for number, (sentence, translated) in enumerate(zip(passage.sentences, best, strict=True)):
            start = end + len(passage.gap(number))
            end = start + len(translated.text)
            spans.append(
                {
                    "source_start": sentence.start,
                    "source_end": sentence.end,
                    "target_start": start,
                    "target_end": end,
                    "is_copied": not sentence.read,
                }
            )
        return {"source_tokens": sources, "target_tokens": targets, "weights": weights, "sentences": spans}

    def _usage(self, results: list[list[Hypothesis]]) -> dict[str, int]:
        best = [found[0] for found in results]
        self.record.completion_tokens = sum(len(found.ids) + (found.finish_reason == "stop") for found in best)
        return {"source_tokens": self.record.prompt_tokens, "target_tokens": self.record.completion_tokens}


def _ranked(passage: Passage, rendered: list[list[Rendered]], most: int) -> list[tuple[str, float]]:
    """The best translations of a passage, of all that its sentences' translations make together: texts and scores.

    Those whose text is there already, spelt with other tokens, are left out. The first is made of the first of each.
    """
    found = [("", 0.0)]
    for number, choices in enumerate(rendered):
        gap = passage.gap(number)
        together = [
            (text + gap + choice.text, score + choice.score) for text, score in found for choice in _distinct(choices)
        ]
        together.sort(key=lambda each: each[1], reverse=True)  # stable: of equal ones the first
        found = together[:most]
    end = passage.gap(len(rendered))
    return [(text + end, score) for text, score in found]


def _distinct(choices: Sequence[Rendered]) -> list[Rendered]:
    """The first of those with the same text."""
    by_text: dict[str, Rendered] = {}
    for choice in choices:
        by_text.setdefault(choice.text, choice)
    return list(by_text.values())


class _Stream:
    """The text of a passage's translation as its sentences are translated, each once those before it are there.

    A sentence whose translation takes the attention to be put together comes at once, others token by token.

    Args:
        passage: the only one.
        reader: the model.
    """

    def __init__(self, passage: Passage, reader: Reader) -> None:
        self._passage = passage
        self._read: list[Sentence] = [sentence for sentence in passage.sentences if sentence.read]
        self._updates: list[list[TranslationOutput]] = [[] for _ in self._read]
        self._texts = [
            TranslatedText(reader.token_texts, reader.unknown_id, sentence.pieces) for sentence in self._read
        ]
        self._number = 0  # of the sentence that is being sent
        self._num_read = 0  # sentences before it that were read
        self._is_begun = False  # whether what stands before it has been sent
        self.results: list[list[Hypothesis] | None] = [None] * len(self._read)
        self.is_over = False

    def add(self, update: TranslationOutput) -> None:
        """What is new of a sentence."""
        self._updates[update.number].append(update)

    def take(self) -> str:
        """The text that can be sent now."""
        passage, pieces = self._passage, []
        while self._number < len(passage.sentences):
            if not self._is_begun:
                pieces.append(passage.gap(self._number))
                self._is_begun = True
            sentence = passage.sentences[self._number]
            if sentence.read:
                pieces.append(self._new_of(sentence))
                if self.results[self._num_read] is None:
                    return "".join(pieces)
                self._num_read += 1
            else:
                pieces.append(passage.copied(sentence))
            self._number += 1
            self._is_begun = False
        pieces.append(passage.gap(self._number))
        self.is_over = True
        return "".join(pieces)

    def _new_of(self, sentence: Sentence) -> str:
        """What is new of the sentence that is being sent."""
        number, pieces = self._num_read, []
        updates, self._updates[number] = self._updates[number], []
        for update in updates:
            if not sentence.needs_attention:
                rows = [None] * len(update.ids) if update.attention is None else update.attention
                text = self._texts[number]
                pieces += [text.push(token, row) for token, row in zip(update.ids, rows, strict=True)]
                pieces += [text.finish()] if update.results is not None else []
            elif update.results is not None:
                pieces.append(self._passage.rendered(sentence, update.results[0]).text)
            if update.results is not None:
                self.results[number] = update.results
        return "".join(pieces)
