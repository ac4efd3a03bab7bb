"""POST /v1/translate, on the wire."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from models.bundle import LanguageCode
from models.decoding.options import TranslationOptions
from server.contract.texts import texts_from, texts_schema

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
