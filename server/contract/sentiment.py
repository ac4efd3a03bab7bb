"""POST /v1/sentiment, on the wire."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from models.config import FrozenModel
from server.contract.texts import texts_from, texts_schema

MAX_TEXTS = 256


def _texts_from(value: Any) -> tuple[str, ...]:
    return texts_from(value, MAX_TEXTS)


class SentimentRequest(FrozenModel):
    """Classify one or several texts."""

    model: Annotated[str | None, Field(description='"name" (highest version) or "name/2".')] = None
    text: Annotated[
        tuple[str, ...],
        BeforeValidator(_texts_from),
        WithJsonSchema(texts_schema(MAX_TEXTS)),
        Field(description="The text to classify, or several."),
    ]
    all_scores: Annotated[bool, Field(description="Return the score of every label.")] = False


class SentimentResult(BaseModel):
    """One text's label."""

    label: Annotated[str, Field(description="The likeliest.")]
    score: Annotated[float, Field(description="Its probability.")]
    scores: Annotated[dict[str, float] | None, Field(description="The probability of each label, if asked for.")] = None


class SentimentUsage(BaseModel):
    """What was counted."""

    tokens: int


class SentimentAnswer(BaseModel):
    """The answer."""

    id: str
    model: Annotated[str, Field(description="name/version of the model that answered.")]
    results: Annotated[list[SentimentResult], Field(description="In the order of the texts.")]
    usage: SentimentUsage
