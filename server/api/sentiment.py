"""POST /v1/sentiment: from a checked request to an answer."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.responses import Response

from models.config import FrozenModel
from server.admission import ShortTexts, asked_of, read_texts, working
from server.api.description import described
from server.endpoint import Endpoint
from server.engine.classification.request import TextBatch, TextResult
from server.http.access import JsonAnswer, PlainRoute, new_id, record_of
from server.service import Service

TASK = "sentiment"


class SentimentRequest(FrozenModel):
    """Classify one or several texts."""

    model: str | None = Field(None, description='"name" (highest version) or "name/2".')
    text: ShortTexts = Field(description="The text to classify, or several.")
    all_scores: bool = Field(False, description="Return the score of every label.")


class SentimentResult(BaseModel):
    """One text's label."""

    label: str = Field(description="The likeliest.")
    score: float = Field(description="Its probability.")
    scores: dict[str, float] | None = Field(None, description="The probability of each label, if asked for.")


class SentimentUsage(BaseModel):
    """What was counted."""

    tokens: int


class SentimentAnswer(BaseModel):
    """The answer."""

    id: str
    model: str = Field(description="name/version of the model that answered.")
    results: list[SentimentResult] = Field(description="In the order of the texts.")
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
        asked = await asked_of(service, request, SentimentRequest, TASK)
        endpoint = service.registry.find(TASK, asked.model)

        async def read(hold: Callable[[int], None]) -> list[list[int]]:
            return await read_texts(asked.text, endpoint.model.tokenizer, endpoint.limit, hold)

        found = await logits_of(service, endpoint, request, read)
        return JsonAnswer(
            {
                "id": f"sen-{new_id()}",
                "model": endpoint.id,
                "results": [_result(softmax(logits), endpoint.model.labels, asked.all_scores) for logits in found],
                "usage": {"tokens": record_of(request).prompt_tokens},
            }
        )

    return router


async def logits_of(
    service: Service,
    endpoint: Endpoint,
    request: Request,
    read: Callable[[Callable[[int], None]], Awaitable[list[list[int]]]],
) -> list[NDArray[np.float32]]:
    """Classify texts.

    Args:
        service: of the app.
        endpoint: the model.
        request: its body has been read.
        read: gives the ids of each text; called as the `prepare` of `working`.

    Returns:
        Of each text in order its logits, float32 [C].

    Raises:
        ApiError: what `read` or `working` raises.
    """
    num_texts = 0

    async def classification(hold: Callable[[int], None]) -> TextBatch:
        nonlocal num_texts
        texts = await read(hold)
        num_texts, record_of(request).prompt_tokens = len(texts), sum(map(len, texts))
        batch = TextBatch()
        for tokens in texts:
            batch.add_text(tokens)
        return batch

    async with working(service, endpoint, request, classification) as work:
        found: list[TextResult] = []
        while len(found) < num_texts:
            found += await work.outputs.get()
    found.sort(key=lambda result: result.number)
    return [result.logits for result in found]


def probabilities_of(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities, float64 [C], of one text's logits, float32 [C]."""
    z = logits.astype(np.float64)
    weights = np.exp(z - z.max())
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities


def softmax(logits: NDArray[np.float32]) -> list[float]:
    """As `probabilities_of`."""
    found: list[float] = probabilities_of(logits).tolist()
    return found


def _result(probabilities: list[float], labels: Sequence[str], all_scores: bool) -> dict[str, Any]:
    """One text's entry; of equally likely labels the first."""
    best = max(range(len(labels)), key=lambda i: probabilities[i])
    result: dict[str, Any] = {"label": labels[best], "score": probabilities[best]}
    if all_scores:
        result["scores"] = dict(zip(labels, probabilities, strict=True))
    return result
