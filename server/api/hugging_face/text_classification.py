"""text-classification: the labels of a text, the likeliest first."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from models.config import FrozenModel
from server.admission import read_texts
from server.api.hugging_face.request import Asked
from server.api.sentiment import logits_of, probabilities_of
from server.endpoint import Endpoint, HuggingFaceTask
from server.http.access import JsonAnswer
from server.service import Service

Function = Literal["sigmoid", "softmax", "none"]
_LARGE = 4096  # labels of all texts; to make more at once would hold up the event loop


class TextClassificationParameters(FrozenModel):
    """Which labels are answered with, and their scores."""

    function_to_apply: Function = Field(
        "softmax", description="Of the model's logits: softmax (probabilities), sigmoid (each by itself), none."
    )
    top_k: int | None = Field(None, ge=1, description="So many labels; all where it is left out.")


async def _answer(service: Service, endpoint: Endpoint, request: Request, asked: Asked) -> Response:
    parameters: TextClassificationParameters = asked.parameters

    async def read(hold: Callable[[int], None]) -> list[list[int]]:
        return await read_texts(asked.texts, endpoint.model.tokenizer, endpoint.limit, hold)

    found = await logits_of(service, endpoint, request, read)
    labels = endpoint.model.labels
    return JsonAnswer(await labelled(found, labels, parameters.function_to_apply, parameters.top_k))


async def labelled(
    logits: Sequence[NDArray[np.float32]], labels: Sequence[str], function: Function, top_k: int | None = None
) -> list[list[dict[str, Any]]]:
    """The labels of each text with their scores, the highest first; of equal ones the first.

    Args:
        logits: of each text, float32 [C].
        labels: of the C classes.
        function: that makes scores of logits.
        top_k: so many labels; None for all.
    """

    def made() -> list[list[dict[str, Any]]]:
        entries = []
        for each in logits:
            scores = _scores(each, function)
            order = np.argsort(-scores, kind="stable")[:top_k]
            pairs = zip(order.tolist(), scores[order].tolist(), strict=True)
            entries.append([{"label": labels[i], "score": score} for i, score in pairs])
        return entries

    return await asyncio.to_thread(made) if len(logits) * len(labels) > _LARGE else made()


def _scores(logits: NDArray[np.float32], function: Function) -> NDArray[np.float64]:
    if function == "softmax":
        return probabilities_of(logits)
    found = logits.astype(np.float64)
    scores: NDArray[np.float64] = found if function == "none" else np.exp(-np.logaddexp(0, -found))
    return scores


TEXT_CLASSIFICATION = HuggingFaceTask("text-classification", TextClassificationParameters, _answer, {"text": "inputs"})
