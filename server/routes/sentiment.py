"""POST /v1/sentiment: from a checked request to an answer."""

from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from server.admission import working
from server.contract.sentiment import SentimentAnswer, SentimentRequest
from server.contract.validation import request_from
from server.engine.batch.request import TextBatch, TextResult
from server.ids import new_id
from server.routes.description import described
from server.served_model import ServedSentiment
from server.service import Service
from server.texts import Limit, read_texts
from server.transport.access import record_of
from server.transport.answers import JsonAnswer
from server.transport.body import read_body

_EXAMPLE = {"text": ["A warm, funny and clever film.", "I want my two hours back."], "all_scores": True}


def sentiment_router(service: Service) -> APIRouter:
    """The route of sentiment."""
    router = APIRouter(tags=["sentiment"])

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
        served = registry.find(ServedSentiment, asked.model)
        record.model = served.id

        async def classification() -> TextBatch:
            limit = Limit("text", service.settings.max_sentiment_tokens, "RNNSERVE_MAX_SENTIMENT_TOKENS")
            texts = await read_texts(asked.text, served.model.tokenizer, limit)
            record.prompt_tokens = sum(map(len, texts))
            batch = TextBatch()
            for tokens in texts:
                batch.add_text(tokens)
            return batch

        async with working(service, served, request, record, classification) as work:
            found: list[TextResult] = []
            while len(found) < len(asked.text):
                found += await work.outputs.get()
        found.sort(key=lambda result: result.number)
        return JsonAnswer(
            {
                "id": f"sen-{new_id()}",
                "model": served.id,
                "results": [_result(softmax(item.logits), served.model.labels, asked.all_scores) for item in found],
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


def _result(probabilities: list[float], labels: list[str], all_scores: bool) -> dict[str, Any]:
    """One text's entry; of equally likely labels the first."""
    best = max(range(len(labels)), key=lambda i: probabilities[i])
    result: dict[str, Any] = {"label": labels[best], "score": probabilities[best]}
    if all_scores:
        result["scores"] = dict(zip(labels, probabilities, strict=True))
    return result
