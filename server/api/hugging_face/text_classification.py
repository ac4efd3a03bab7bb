"""text-classification: the labels of a text, the likeliest first."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from models.config import FrozenModel
from server.admission import read_texts
from server.api.hugging_face.request import Asked
from server.api.sentiment import logits_of, softmax
from server.endpoint import Endpoint, HuggingFaceTask
from server.http.access import JsonAnswer
from server.service import Service

Function = Literal["sigmoid", "softmax", "none"]


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
    return JsonAnswer(
        [labelled(logits, endpoint.model.labels, parameters.function_to_apply)[: parameters.top_k] for logits in found]
    )


def labelled(logits: NDArray[np.float32], labels: tuple[str, ...], function: Function) -> list[dict[str, Any]]:
    """The labels of a text with their scores, the highest first; of equal ones the first.

    Args:
        logits: float32 [C].
        labels: of the C classes.
        function: that makes scores of logits.
    """
    scores = _scores(logits, function)
    order = sorted(range(len(labels)), key=lambda i: -scores[i])
    return [{"label": labels[i], "score": scores[i]} for i in order]


def _scores(logits: NDArray[np.float32], function: Function) -> list[float]:
    if function == "softmax":
        return softmax(logits)
    found = logits.astype(np.float64)
    return (found if function == "none" else np.exp(-np.logaddexp(0, -found))).tolist()  # type: ignore[no-any-return]


TEXT_CLASSIFICATION = HuggingFaceTask("text-classification", TextClassificationParameters, _answer, {"text": "inputs"})
