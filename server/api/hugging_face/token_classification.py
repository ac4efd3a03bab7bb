"""token-classification: the tokens of a text that have a label, or groups of them."""

from typing import Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from models.config import FrozenModel
from models.spans import OUTSIDE
from server.api.hugging_face.request import Asked
from server.api.tag import Aggregation, Source, tagged
from server.endpoint import Endpoint, HuggingFaceTask
from server.http.access import JsonAnswer
from server.service import Service


class TokenClassificationParameters(FrozenModel):
    """How tokens become entities."""

    aggregation_strategy: Aggregation = Field(
        "none",
        description="none: each token; simple, first, max: groups of tokens, or of words named by their first token or "
        "by the one with the highest score.",
    )
    ignore_labels: list[str] = Field([OUTSIDE], description="Labels that are left out.")
    stride: int | None = Field(None, description="Without effect: texts are read whole.")


async def _answer(service: Service, endpoint: Endpoint, request: Request, asked: Asked) -> Response:
    parameters: TokenClassificationParameters = asked.parameters

    def answer(sources: list[Source]) -> JsonAnswer:
        found = [_entities(source, parameters.aggregation_strategy, parameters.ignore_labels) for source in sources]
        return JsonAnswer(found if asked.is_list else found[0])

    return await tagged(service, endpoint, request, asked.texts, "inputs", answer)


def _entities(source: Source, how: Aggregation, ignored: list[str]) -> list[dict[str, Any]]:
    if how != "none":
        return [
            {"entity_group": label, "score": score, "word": source.text[start:end], "start": start, "end": end}
            for label, start, end, score in source.spans(how)
            if label not in ignored
        ]
    return [
        {"entity": label, "score": score, "index": i, "word": source.text[start:end], "start": start, "end": end}
        for sentence in source.tokens
        for i, (label, start, end, score) in enumerate(sentence, 1)
        if label not in ignored
    ]


TOKEN_CLASSIFICATION = HuggingFaceTask("token-classification", TokenClassificationParameters, _answer, {})
