"""POST /v1/tag: from a checked request to an answer. What it computes serves other dialects too (hugging_face.py).

A text is split into words and sentences, each sentence is a row of the engine's batches, and each token of it has a
label. What a word or a span is called follows from its tokens' labels, by one of four rules (`Aggregation`).
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from starlette.responses import Response

from models.config import FrozenModel
from models.crf import Crf
from models.spans import are_span_tags, spans_of
from models.word_ids import Encoded, WordEncoder
from models.words import Span, WordSplitter, sentences
from server.admission import MAX_SHORT_TEXTS, ShortTexts, asked_of, working
from server.api.description import described
from server.endpoint import Endpoint, Limit
from server.engine.classification.request import TextBatch
from server.errors import FieldError, shown
from server.http.access import JsonAnswer, PlainRoute, new_id, record_of
from server.service import Service

TASK = "tagging"
_CHARACTERS_PER_TOKEN = 64  # more than any text has; of longer ones no word is looked for
_LONG = 1024  # characters of a request; to split and answer more at once would hold up the event loop
_LONG_FOR_CRF = 128  # tokens likewise, whose labels a CRF finds

Made = TypeVar("Made")
Aggregation = Literal["none", "simple", "first", "max"]


def _sentences_from(value: Any) -> tuple[tuple[str, ...], ...]:
    """A list of sentences, each a list of words. Raises ValueError with a plain sentence."""
    are_lists = isinstance(value, list | tuple) and all(isinstance(item, list | tuple) for item in value)
    if not are_lists or not all(isinstance(word, str) for item in value for word in item):
        raise ValueError('must be a list of sentences, each a list of words, such as [["Hello", "!"]]')
    if not 1 <= len(value) <= MAX_SHORT_TEXTS:
        parts = f"; send them in requests of at most {MAX_SHORT_TEXTS}" if value else ""
        raise ValueError(f"{len(value)} sentences; 1 to {MAX_SHORT_TEXTS} are allowed{parts}")
    for number, item in enumerate(value):
        if not item or not all(word.strip() for word in item):
            raise ValueError(f"sentence {number} has no word, or an empty one; each needs at least one character")
    return tuple(tuple(item) for item in value)


_WORDS_SCHEMA = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
Sentences = Annotated[
    tuple[tuple[str, ...], ...],
    BeforeValidator(_sentences_from),
    WithJsonSchema({"type": "array", "items": _WORDS_SCHEMA, "minItems": 1, "maxItems": MAX_SHORT_TEXTS}),
]


def _one_of(given: str, left_out: str) -> dict[str, Any]:
    properties = {given: {"not": {"type": "null"}}, left_out: {"type": "null"}}
    return {"required": [given], "properties": properties}


class TagRequest(FrozenModel):
    """Label the words of one or several texts, or of sentences whose words are given."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [_one_of("text", "tokens"), _one_of("tokens", "text")]})

    model: str | None = Field(None, description='"name" (highest version) or "name/2".')
    text: ShortTexts | None = Field(None, description="The text whose words to label, or several.")
    tokens: Sentences | None = Field(None, description="Instead of text: sentences as lists of words.")
    aggregation: Aggregation = Field(
        "first",
        description="How a word's label follows from those of its tokens: that of its first, or of the one with the "
        "highest score (max). simple: words as with first, spans from tokens alone. none: tokens alone, no spans.",
    )


class TaggedToken(BaseModel):
    """One word; with aggregation none one token of the model."""

    text: str
    start: int = Field(description="Its first character in the text; of sentences, in their words joined by spaces.")
    end: int = Field(description="The character after its last.")
    label: str
    score: float = Field(description="Its label's probability.")


class TaggedSpan(BaseModel):
    """Words that belong together, of a model whose labels are O, B-x and I-x."""

    label: str
    text: str
    start: int
    end: int
    score: float = Field(description="The mean of its words' scores.")


class TagResult(BaseModel):
    """One text's words and spans."""

    tokens: list[TaggedToken]
    spans: list[TaggedSpan] | None = Field(None, description="Where the model's labels are O, B-x and I-x.")


class TagUsage(BaseModel):
    """What was counted."""

    tokens: int


class TagAnswer(BaseModel):
    """The answer."""

    id: str
    model: str = Field(description="name/version of the model that answered.")
    results: list[TagResult] = Field(description="In the order of the texts.")
    usage: TagUsage


_EXAMPLE = {"text": ["Anna can't read the can's label."], "aggregation": "first"}


class Labelled(NamedTuple):
    """A stretch of a text with its label, or a group of them."""

    label: str
    start: int
    end: int
    score: float


@dataclass
class Source:
    """One text of a request.

    Attributes:
        text: as offsets count in it.
        words: of each sentence the places of its words.
        encoded: of each sentence its tokens.
        tokens: what was found, of each sentence its tokens; filled when the engine has answered.
    """

    text: str
    words: list[list[Span]]
    encoded: list[Encoded] = field(default_factory=list)
    tokens: list[list[Labelled]] = field(default_factory=list)

    def labelled(self, how: Aggregation) -> list[list[Labelled]]:
        """Of each sentence its words, or its tokens where `how` is none."""
        if how == "none":
            return self.tokens
        return [
            [self._word(words[word], tokens, how) for word, tokens in _by_word(encoded, tokens)]
            for words, encoded, tokens in zip(self.words, self.encoded, self.tokens, strict=True)
        ]

    def spans(self, how: Aggregation) -> list[Labelled]:
        """Groups of words, or with `simple` of tokens, in order."""
        units = self.tokens if how == "simple" else self.labelled(how)
        return [span for sentence in units for span in spans_from(sentence)]

    @staticmethod
    def _word(place: Span, tokens: Sequence[Labelled], how: Aggregation) -> Labelled:
        chosen = max(tokens, key=lambda token: token.score) if how == "max" else tokens[0]
        return Labelled(chosen.label, *place, chosen.score)


def spans_from(units: Sequence[Labelled]) -> list[Labelled]:
    """The spans of one sentence's words or tokens."""
    return [
        Labelled(
            span.label,
            units[span.first].start,
            units[span.last - 1].end,
            sum(unit.score for unit in units[span.first : span.last]) / (span.last - span.first),
        )
        for span in spans_of([unit.label for unit in units])
    ]


def tag_router(service: Service) -> APIRouter:
    """The route of tagging."""
    router = APIRouter(tags=["tagging"], route_class=PlainRoute)

    @router.post(
        "/v1/tag", summary="Label the words of a text", **described(TagRequest, TagAnswer, _EXAMPLE, is_timed=True)
    )
    async def tag(request: Request) -> Response:
        """A label for each word, and the spans that the labels make."""
        asked = await asked_of(service, request, TagRequest, TASK)
        if (asked.text is None) == (asked.tokens is None):
            found = "neither is there" if asked.text is None else "both are there"
            code = "field_missing" if asked.text is None else "field_invalid"
            raise FieldError(f"text or tokens: {found}; give one of them.", param="text", code=code)
        endpoint = service.registry.find(TASK, asked.model)
        has_spans = are_span_tags(endpoint.model.labels) and asked.aggregation != "none"

        def answer(sources: list[Source]) -> JsonAnswer:
            return JsonAnswer(
                {
                    "id": f"tag-{new_id()}",
                    "model": endpoint.id,
                    "results": [_result(source, asked.aggregation, has_spans=has_spans) for source in sources],
                    "usage": {"tokens": record_of(request).prompt_tokens},
                }
            )

        if asked.tokens is not None:
            return await tagged(service, endpoint, request, asked.tokens, "tokens", answer)
        return await tagged(service, endpoint, request, asked.text or (), "text", answer)

    return router


def _result(source: Source, how: Aggregation, *, has_spans: bool) -> dict[str, Any]:
    tokens = [
        {"text": source.text[start:end], "start": start, "end": end, "label": label, "score": score}
        for sentence in source.labelled(how)
        for label, start, end, score in sentence
    ]
    if not has_spans:
        return {"tokens": tokens}
    spans = [
        {"label": label, "text": source.text[start:end], "start": start, "end": end, "score": score}
        for label, start, end, score in source.spans(how)
    ]
    return {"tokens": tokens, "spans": spans}


async def tagged(
    service: Service,
    endpoint: Endpoint,
    request: Request,
    texts: Sequence[str] | Sequence[Sequence[str]],
    name: str,
    answer: Callable[[list[Source]], Made],
) -> Made:
    """Label texts, or sentences whose words are given.

    Args:
        service: of the app.
        endpoint: the model.
        request: its body has been read.
        texts: to split; or sentences as words.
        name: of the field that holds them, for messages.
        answer: makes the answer; called in a thread where that takes long.

    Returns:
        What `answer` gives.

    Raises:
        ApiError: a text is too long or holds no word, or what `working` raises.
    """
    encoder, record, limit = endpoint.word_encoder, record_of(request), endpoint.limit
    is_long = sum(len(text) if isinstance(text, str) else sum(map(len, text)) for text in texts) > _LONG

    def read() -> list[Source]:
        names = [name if len(texts) == 1 else f"{name} {number}" for number in range(len(texts))]
        return [_source(text, encoder, where, limit) for text, where in zip(texts, names, strict=True)]

    async def prepared(hold: Callable[[int], None]) -> TextBatch:
        hold(len(texts))
        sources.extend(await asyncio.to_thread(read) if is_long else read())
        batch = TextBatch()
        for source in sources:
            for sentence in source.encoded:
                batch.add_text(sentence.ids)
        record.prompt_tokens = batch.num_tokens
        return batch

    sources: list[Source] = []
    async with working(service, endpoint, request, prepared) as work:
        logits: dict[int, NDArray[np.float32]] = {}
        num_sentences = sum(len(source.encoded) for source in sources)
        while len(logits) < num_sentences:
            logits |= {found.number: found.logits for found in await work.outputs.get()}

    def made() -> Made:
        rows = iter([logits[number] for number in range(num_sentences)])
        for source in sources:
            for words, sentence in zip(source.words, source.encoded, strict=True):
                source.tokens.append(_tokens(words, sentence, next(rows), endpoint.model.labels, endpoint.model.crf))
        return answer(sources)

    is_long = is_long or (endpoint.model.crf is not None and record.prompt_tokens > _LONG_FOR_CRF)
    return await asyncio.to_thread(made) if is_long else made()


def _source(text: str | Sequence[str], encoder: WordEncoder, name: str, limit: Limit) -> Source:
    """One text, or one sentence whose words are given, with its tokens.

    Raises:
        FieldError: it is too long, or a sentence or a given word of it has no token.
    """
    source = _split(text, encoder.splitter, name, limit) if isinstance(text, str) else _given(text)
    source.encoded = [encoder.encode([source.text[start:end] for start, end in words]) for words in source.words]
    found = sum(len(sentence.ids) for sentence in source.encoded)
    if found > limit.tokens:
        raise _too_long(name, str(found), limit)
    for words, sentence in zip(source.words, source.encoded, strict=True):
        num_known = len(sentence.firsts)
        if not num_known or (num_known < len(words) and not isinstance(text, str)):
            start, end = words[min(set(range(len(words))) - set(sentence.words))]
            raise FieldError(
                f"{name}: the model's tokenizer knows nothing of {shown(source.text[start:end])}; leave it out.",
                param=name.split()[0],
            )
    return source


def _given(words: Sequence[str]) -> Source:
    starts = np.cumsum([0, *(len(word) + 1 for word in words)]).tolist()
    return Source(" ".join(words), [[(start, end - 1) for start, end in pairwise(starts)]])


def _split(text: str, splitter: WordSplitter, name: str, limit: Limit) -> Source:
    if len(text) > limit.tokens * _CHARACTERS_PER_TOKEN:
        most = limit.tokens * _CHARACTERS_PER_TOKEN
        raise FieldError(
            f"{name} has {len(text)} characters; at most {most} are allowed, {_CHARACTERS_PER_TOKEN} for each of "
            f"{limit.tokens} tokens ({limit.setting}).",
            param=name.split()[0],
        )
    words = splitter.split(text, limit.tokens + 1)
    if len(words) > limit.tokens:
        raise _too_long(name, f"more than {limit.tokens}", limit)
    if not words:
        raise FieldError(f"{name} holds no word; send more than white space.", param=name.split()[0])
    return Source(text, sentences(text, words) if splitter.kind != "characters" else [words])


def _too_long(name: str, found: str, limit: Limit) -> FieldError:
    message = f"{name} has {found} tokens; at most {limit.tokens} are allowed ({limit.setting})."
    return FieldError(message, param=name.split()[0])


def _tokens(
    words: Sequence[Span], encoded: Encoded, logits: NDArray[np.float32], labels: Sequence[str], crf: Crf | None
) -> list[Labelled]:
    """A sentence's tokens with their labels; marks around it are left out.

    Args:
        words: places of its words.
        encoded: its tokens.
        logits: float32 [tokens, C].
        labels: of the classes.
        crf: finds them; None: each token has the likeliest.
    """
    best, scores = _likeliest(logits) if crf is None else crf.decode(logits)
    return [
        Labelled(labels[label], words[word][0] + start, words[word][0] + end, score)
        for label, score, word, (start, end) in zip(
            best.tolist(), scores.tolist(), encoded.words, encoded.spans, strict=True
        )
        if word >= 0
    ]


def _likeliest(logits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of each token of logits [tokens, C] the likeliest class, int64 [tokens], and its probability."""
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    best = logits.argmax(axis=1)
    return best, weights[np.arange(len(best)), best] / weights.sum(axis=1)


def _by_word(encoded: Encoded, tokens: Sequence[Labelled]) -> list[tuple[int, list[Labelled]]]:
    """Of each word that has tokens, its number and they."""
    found: dict[int, list[Labelled]] = {}
    for word, token in zip((word for word in encoded.words if word >= 0), tokens, strict=True):
        found.setdefault(word, []).append(token)
    return list(found.items())
