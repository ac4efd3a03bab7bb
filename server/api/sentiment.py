"""POST /v1/sentiment: from a checked request to an answer."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema
from starlette.responses import Response

from models.config import FrozenModel
from server.admission import working
from server.api.description import PlainRoute, described
from server.api.texts import read_texts
from server.api.validation import request_from, texts_from, texts_schema
from server.engine.classification.request import TextBatch, TextResult
from server.http.access import JsonAnswer, new_id, record_of
from server.http.body import read_body
from server.service import Service
from server.task import Limit

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


_EXAMPLE = {"text": ["A warm, funny and clever film.", "I want my two hours back."], "all_scores": True}


def sentiment_router(service: Service) -> APIRouter:
    """The route of sentiment."""
    router = APIRouter(tags=["sentiment"], route_class=PlainRoute)

    @router.post(
        "/v1/sentiment",
        summary="Classify a text",
        **described(SentimentRequest, SentimentAnswer, _EXAMPLE, is_timed=True),
    )
    async def sentiment(request: Request) -> Response:
        """The likeliest label of each text and its probability; with `all_scores`, every label's."""
        record = record_of(request)
        record.task = "sentiment"
        body = await read_body(request.scope["headers"], request.receive, service.settings)
        registry = service.registry
        asked = request_from(SentimentRequest, body)
        endpoint = registry.find("sentiment", asked.model)
        record.model = endpoint.id

        async def classification() -> TextBatch:
            limit = Limit("text", service.settings.max_sentiment_tokens, "RNNSERVE_MAX_SENTIMENT_TOKENS")
            texts = await read_texts(asked.text, endpoint.info.tokenizer, limit)
            record.prompt_tokens = sum(map(len, texts))
            batch = TextBatch()
            for tokens in texts:
                batch.add_text(tokens)
            return batch

        async with working(service, endpoint, request, classification) as work:
            found: list[TextResult] = []
            while len(found) < len(asked.text):
                found += await work.outputs.get()
        found.sort(key=lambda result: result.number)
        return JsonAnswer(
            {
                "id": f"sen-{new_id()}",
                "model": endpoint.id,
                "results": [_result(softmax(item.logits), endpoint.info.labels, asked.all_scores) for item in found],
                "usage": {"tokens": record.prompt_tokens},
            }
        )

    return router


def softmax(logits: NDArray[np.float32]) -> list[float]:
    """Probabilities of one text's logits, float32 [C]."""
    z = logits.astype(np.float64)
    weights = np.exp(z - z.max())
    probabilities: list[float] = (weights / weights.sum()).tolist()
    return probabilities


def _result(probabilities: list[float], labels: Sequence[str], all_scores: bool) -> dict[str, Any]:
    """One text's entry; of equally likely labels the first."""
    best = max(range(len(labels)), key=lambda i: probabilities[i])
    result: dict[str, Any] = {"label": labels[best], "score": probabilities[best]}
    if all_scores:
        result["scores"] = dict(zip(labels, probabilities, strict=True))
    return result
