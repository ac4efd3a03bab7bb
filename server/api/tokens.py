"""POST /tokenize and /detokenize: a model's tokenizer, in the JSON of vLLM's endpoints of these names."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from server.admission import check_ids, parsed_body, read_texts
from server.api.description import described
from server.api.generate import TASK
from server.endpoint import Endpoint
from server.errors import FieldError, shown
from server.http.access import JsonAnswer, PlainRoute
from server.http.body import request_from
from server.service import Service

_MODEL = 'Of any task that reads text: "name" or "name/2"; by default the one that generates.'


class TokenizeRequest(BaseModel):
    """A text's token ids."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    model: str | None = Field(None, description=_MODEL)
    prompt: Annotated[str, Field(min_length=1)]
    return_token_strs: bool | None = Field(False, description="Each token as a string, too.")


class TokenizeAnswer(BaseModel):
    """The ids."""

    count: int
    max_model_len: int = Field(description="Most tokens that the server reads of a text.")
    tokens: list[int]
    token_strs: list[str] | None


class DetokenizeRequest(BaseModel):
    """The text of token ids."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)
    model: str | None = Field(None, description=_MODEL)
    tokens: list[Annotated[int, Field(ge=0)]]


class DetokenizeAnswer(BaseModel):
    """The text."""

    prompt: str


def tokens_router(service: Service) -> APIRouter:
    """The two routes."""
    router = APIRouter(tags=["OpenAI"], route_class=PlainRoute)
    most = service.settings.max_prompt_tokens

    @router.post(
        "/tokenize", summary="Token ids of a text", **described(TokenizeRequest, TokenizeAnswer, {"prompt": "To be"})
    )
    async def tokenize(request: Request) -> Response:
        """How a model reads a text; marks that are typed are plain text."""
        asked = await parsed_body(service, request, TASK, lambda body: request_from(TokenizeRequest, body))
        endpoint = _reader(service, asked.model)
        (ids,) = await read_texts([asked.prompt], endpoint.model.tokenizer, endpoint.limit)
        strings = [endpoint.token_texts.shown(token) for token in ids] if asked.return_token_strs else None
        return JsonAnswer(
            {"count": len(ids), "max_model_len": endpoint.limit.tokens, "tokens": ids, "token_strs": strings}
        )

    @router.post(
        "/detokenize",
        summary="The text of token ids",
        **described(DetokenizeRequest, DetokenizeAnswer, {"tokens": [1, 2]}),
    )
    async def detokenize(request: Request) -> Response:
        """What a model's token ids stand for."""
        asked = await parsed_body(service, request, TASK, lambda body: request_from(DetokenizeRequest, body, most))
        tokenizer = _reader(service, asked.model).model.tokenizer
        check_ids(asked.tokens, tokenizer, "tokens")
        return JsonAnswer({"prompt": tokenizer.decode(asked.tokens)})

    return router


def _reader(service: Service, model: str | None) -> Endpoint:
    """The model. Raises ModelNotFoundError, FieldError."""
    found = None if model is None else service.registry.get(model)
    if found is None:
        return service.registry.find(TASK, model)
    if found.model.own_tokenizer is None:
        raise FieldError(f"Model {shown(model)} reads numbers and has no tokenizer.", param="model")
    return found
