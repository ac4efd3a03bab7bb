"""POST /v1/huggingface/MODEL: token classification in the JSON of Hugging Face's inference API.

`huggingface_hub`'s InferenceClient(model="http://.../v1/huggingface/MODEL").token_classification(text) asks it.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, Field, RootModel, WithJsonSchema
from starlette.responses import Response

from models.config import FrozenModel
from models.spans import OUTSIDE
from server.admission import MAX_SHORT_TEXTS, asked_of, texts_from, texts_schema
from server.api.description import described
from server.api.tag import TASK, Aggregation, Source, tagged
from server.http.access import PlainRoute
from server.service import Service


class TokenClassificationParameters(FrozenModel):
    """How tokens become entities."""

    aggregation_strategy: Aggregation | None = Field(
        None,
        description="none (the default): each token; simple, first, max: groups of tokens, or of words named by their "
        "first token or by the one with the highest score.",
    )
    ignore_labels: list[str] | None = Field(None, description='Labels that are left out; the default is ["O"].')
    stride: int | None = Field(None, description="Without effect: texts are read whole.")


def _inputs_from(value: Any) -> str | tuple[str, ...]:
    """One text stays one, because its answer has another shape than that of a list of one."""
    texts = texts_from(MAX_SHORT_TEXTS, value)
    return texts[0] if isinstance(value, str) else texts


class TokenClassificationRequest(FrozenModel):
    """Entities of one text or several."""

    inputs: Annotated[
        str | tuple[str, ...], BeforeValidator(_inputs_from), WithJsonSchema(texts_schema(MAX_SHORT_TEXTS))
    ] = Field(description="The text, or several, at most 256.")
    parameters: TokenClassificationParameters | None = None


class Entity(BaseModel):
    """A token (entity, index) or a group (entity_group)."""

    entity: str | None = None
    entity_group: str | None = None
    score: float
    index: int | None = Field(None, description="Which token of its sentence, counted from 1.")
    word: str
    start: int
    end: int


class TokenClassificationAnswer(RootModel[list[Entity] | list[list[Entity]]]):
    """The entities of a text; of several, those of each."""


_EXAMPLE = {"inputs": "Anna flew to Oslo.", "parameters": {"aggregation_strategy": "simple"}}


def hugging_face_router(service: Service) -> APIRouter:
    """The route for clients of Hugging Face's inference API."""
    router = APIRouter(tags=["tagging"], route_class=PlainRoute)

    @router.post(
        "/v1/huggingface/{model:path}",
        summary="Token classification, as Hugging Face's inference API has it",
        **described(TokenClassificationRequest, TokenClassificationAnswer, _EXAMPLE, is_timed=True),
    )
    async def token_classification(request: Request) -> Response:
        """Entities of each text. `model` is name or name/version."""
        asked = await asked_of(service, request, TokenClassificationRequest, TASK)
        endpoint = service.registry.find(TASK, request.path_params["model"])
        texts = (asked.inputs,) if isinstance(asked.inputs, str) else asked.inputs
        parameters = asked.parameters or TokenClassificationParameters()
        ignored = [OUTSIDE] if parameters.ignore_labels is None else parameters.ignore_labels

        def answer(sources: list[Source]) -> Any:
            found = [_entities(source, parameters.aggregation_strategy or "none", ignored) for source in sources]
            return found[0] if isinstance(asked.inputs, str) else found

        return await tagged(service, endpoint, request, texts, "inputs", answer)

    return router


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
