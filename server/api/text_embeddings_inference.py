"""POST /predict and GET /info, as text-embeddings-inference has them for models that classify texts.

Which model: the only one that classifies, or RNNSERVE_DEFAULT_SENTIMENT. `inputs` is a text, or a batch of texts each
in a list of its own; a flat list of two strings is one pair there, not a batch. An error is {"error": "a sentence",
"error_type"}.
"""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, RootModel, WithJsonSchema
from starlette.responses import Response

from models.tokenizer import Tokenizer
from server.admission import MAX_SHORT_TEXTS, asked_of, read_texts
from server.api.description import TypedErrorText, described
from server.api.hugging_face.text_classification import labelled
from server.api.sentiment import TASK, logits_of
from server.endpoint import Limit
from server.errors import ApiError, FieldError, shown
from server.http.access import JsonAnswer, PlainRoute
from server.service import Service

PATHS = ("/predict", "/info")
_BATCH = "inputs_too_many"
_EMPTY = "inputs_empty"
# status of an error -> that and the word for it there
_KINDS = {
    400: (422, "Validation"),
    413: (413, "Validation"),
    422: (422, "Validation"),
    429: (429, "Overloaded"),
    500: (424, "Backend"),
    503: (503, "Unhealthy"),
    504: (424, "Backend"),
}
_LARGE_TEXT = 4096  # characters; to tokenize more at once would hold up the event loop


def _inputs_from(value: Any) -> str | tuple[str, ...]:
    """One text, or those of a batch. Raises ValueError in a plain sentence."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise ValueError('must be a text, or a batch such as [["a"], ["b"]]')
    if all(isinstance(item, str) for item in value):
        if len(value) == 1:
            return str(value[0])
        found = "a flat list of two strings is one pair" if len(value) == 2 else f"a flat list of {len(value)} strings"
        raise ValueError(f'{found}; this model reads single texts. A batch has each in a list: [["a"], ["b"]]')
    if not all(isinstance(item, list) and all(isinstance(text, str) for text in item) for item in value):
        raise ValueError('must be a text, or a batch such as [["a"], ["b"]]')
    for number, item in enumerate(value):
        if len(item) != 1:
            found = "is a pair of texts" if len(item) == 2 else f"has {len(item)} texts"
            raise ValueError(f"entry {number} {found}; this model reads single texts")
    return tuple(item[0] for item in value)


_TEXT = {"type": "string", "minLength": 1}
_ONE = {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 1}
_MANY = {"type": "array", "items": _ONE, "minItems": 1, "maxItems": MAX_SHORT_TEXTS}
Inputs = Annotated[
    str | tuple[str, ...], BeforeValidator(_inputs_from), WithJsonSchema({"anyOf": [_TEXT, _ONE, _MANY]})
]


class PredictRequest(BaseModel):
    """Classify a text, or a batch."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    inputs: Inputs = Field(description='A text, or at most 256, each in a list of its own: [["a"], ["b"]].')
    raw_scores: bool = Field(False, description="Return the model's logits instead of probabilities.")
    truncate: bool = Field(False, description="Cut a text that is too long; without it, it is refused.")
    truncation_direction: Annotated[
        Literal["left", "right"], BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
    ] = Field("right", description="The end that is cut off.")
    model: str | None = Field(None, description='Of several: "name" (highest version) or "name/2".')


class Prediction(BaseModel):
    """A label."""

    label: str
    score: float


class PredictAnswer(RootModel[list[Prediction] | list[list[Prediction]]]):
    """The labels of a text, those with the highest scores first; of a batch, those of each."""


class InfoAnswer(BaseModel):
    """The model and the server's limits."""

    model_id: str
    model_sha: str | None
    model_dtype: str = Field(description="The graph set in use.")
    model_type: dict[str, Any] = Field(description='{"classifier": {"id2label", "label2id"}}')
    max_concurrent_requests: int
    max_input_length: int = Field(description="Tokens of a text.")
    max_batch_tokens: int
    max_batch_requests: int
    max_client_batch_size: int = Field(description="Texts of a request.")
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None = None
    docker_label: str | None = None


def tei_router(service: Service) -> APIRouter:
    """The route of predictions; GET /info is there, too."""
    router = APIRouter(tags=["text-embeddings-inference"], route_class=PlainRoute)

    @router.post(
        "/predict",
        summary="Classify a text, as text-embeddings-inference does",
        **described(
            PredictRequest,
            PredictAnswer,
            {"inputs": [["A warm film."], ["Dull."]]},
            is_timed=True,
            error=TypedErrorText,
        ),
    )
    async def predict(request: Request) -> Response:
        """The labels of each text with their scores."""
        asked = await asked_of(service, request, PredictRequest, TASK)
        texts = (asked.inputs,) if isinstance(asked.inputs, str) else asked.inputs
        if len(texts) > MAX_SHORT_TEXTS:
            message = (
                f"inputs: {len(texts)} texts; at most {MAX_SHORT_TEXTS} are classified in a request. Send several."
            )
            raise FieldError(message, param="inputs", code=_BATCH)
        if "" in texts:
            raise FieldError("inputs: a text is empty; each needs at least one character.", param="inputs", code=_EMPTY)
        endpoint = service.registry.find(TASK, asked.model)
        model, limit = endpoint.model, endpoint.limit

        async def read(hold: Callable[[int], None]) -> list[list[int]]:
            if not asked.truncate:
                return await read_texts(texts, model.tokenizer, limit, hold)
            hold(len(texts))
            all_ids = await _cut(texts, model.tokenizer, limit, asked.truncation_direction)
            if not all(all_ids):
                raise FieldError(
                    f"inputs: nothing of {shown(texts[all_ids.index([])])} is known to the model.", param="inputs"
                )
            return all_ids

        try:
            logits = await logits_of(service, endpoint, request, read)
        except ApiError as error:
            error.rename({"text": "inputs"})
            raise
        found = await labelled(logits, model.labels, "none" if asked.raw_scores else "softmax")
        return JsonAnswer(found[0] if isinstance(asked.inputs, str) else found)

    @router.get(
        "/info",
        summary="The model that classifies, and limits",
        **described(None, InfoAnswer, statuses=(422,), error=TypedErrorText),
    )
    async def info(request: Request) -> Response:
        """Of the only model that classifies, or the default."""
        endpoint, settings = service.registry.find(TASK, None), service.settings
        model = endpoint.model
        labels = {str(number): label for number, label in enumerate(model.labels)}
        answer = InfoAnswer(
            model_id=endpoint.id,
            model_sha=model.bundle_sha256 or None,
            model_dtype=model.precision,
            model_type={
                "classifier": {"id2label": labels, "label2id": {label: i for i, label in enumerate(model.labels)}}
            },
            max_concurrent_requests=settings.max_requests,
            max_input_length=endpoint.limit.tokens,
            max_batch_tokens=settings.classify_tokens,
            max_batch_requests=settings.max_rows,
            max_client_batch_size=MAX_SHORT_TEXTS,
            auto_truncate=False,
            tokenization_workers=1,
            version=request.app.version,
        )
        return JsonAnswer(answer.model_dump())

    return router


def tei_error(error: ApiError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """An error as its clients read it: status, body, headers."""
    status, kind = _KINDS.get(error.status, (error.status, "Validation"))
    if error.code == _BATCH:
        status = 413
    elif error.code == _EMPTY:
        status, kind = 400, "Empty"
    return status, {"error": error.message, "error_type": kind}, error.headers


async def _cut(texts: tuple[str, ...], tokenizer: Tokenizer, limit: Limit, direction: str) -> list[list[int]]:
    """The ids of each text, as many as are allowed: its first, or with `left` its last ones."""
    most = limit.tokens * tokenizer.max_characters_per_token  # more are not read

    def cut(text: str) -> list[int]:
        if direction == "left":
            return tokenizer.encode(text[-most:])[-limit.tokens :]
        return tokenizer.encode(text[:most])[: limit.tokens]

    if sum(map(len, texts)) > _LARGE_TEXT:
        return await asyncio.to_thread(lambda: [cut(text) for text in texts])
    return [cut(text) for text in texts]
