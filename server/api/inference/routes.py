"""/v2: the Open Inference Protocol (https://github.com/kserve/open-inference-protocol) with Triton's extensions for
binary tensors, sequences, statistics and generated text. Which models answer, and how, their tasks say
(server.endpoint.TensorTask).

An error is {"error": "a sentence"}.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from runtime.runner import Array
from server.admission import parsed_body
from server.api.description import BYTES, ErrorText, described
from server.api.inference.statistics import StatsAnswer, statistics_of
from server.api.inference.tensors import HEADER_LENGTH, Asked, InferRequest, answer_of, asked_from, seconds_from
from server.api.inference.text import OUTPUT, TextRequest, asked_from_text
from server.endpoint import Endpoint, TensorInfo, TensorTask
from server.errors import ApiError, BadRequestError, FieldError, ModelNotFoundError, nearest, shown
from server.http.access import INFERENCE, JsonAnswer, PlainRoute, header_of, record_of
from server.http.stream import EventStream
from server.service import Service

EXTENSIONS = ["binary_tensor_data", "parameters", "sequence", "sequence(string_id)", "statistics"]
REPOSITORY = "model_repository"  # where there is a key for operators
LARGE_ANSWER = 1 << 16  # numbers; writing more would hold up the event loop
_MODEL, _VERSION = "/models/{name}", "/models/{name}/versions/{version}"


class OutputTensor(BaseModel):
    """One output."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] | None = Field(None, description="Flat, in row-major order; null for NaN and infinity.")
    parameters: dict[str, Any] | None = Field(None, description="binary_data_size of one that follows as bytes.")


class InferAnswer(BaseModel):
    """The answer."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class TextAnswer(BaseModel):
    """The answer; of a stream, each event."""

    model_config = ConfigDict(extra="allow")
    id: str | None = None
    model_name: str
    model_version: str
    text_output: str = Field(description="The text; in a stream what is new of it. The other outputs follow.")


_TEXT_EXAMPLE = {"text_input": "To be, or", "parameters": {"max_tokens": 20, "temperature": 0.7, "seed": 7}}


class TensorMetadata(BaseModel):
    """An input or output."""

    name: str
    datatype: str = Field(description="Such as FP32.")
    shape: list[int] = Field(description="-1 for an axis of any size.")


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(BaseModel):
    """Whether a model takes requests."""

    name: str
    ready: bool


class ServerMetadata(BaseModel):
    """What this server is."""

    name: Literal["rnnserve"]
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the process should go on; false comes with status 500."""

    live: bool


class ServerReady(BaseModel):
    """Whether requests are taken; false comes with status 503."""

    ready: bool


_BINARY = "A JSON object as above, then raw tensors; inference-header-content-length says where it ends."
_EXAMPLE = {
    "parameters": {"sequence_id": 7, "sequence_start": True},
    "inputs": [{"name": "frames", "shape": [1, 2, 2], "datatype": "FP32", "data": [0.1, 0.2, 0.3, 0.4]}],
}


def inference_error(error: ApiError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """An error as this protocol has it: a sentence, and no 422."""
    status = BadRequestError.status if error.status == FieldError.status else error.status
    return status, {"error": error.message}, error.headers


def inference_router(service: Service, version: str) -> APIRouter:
    """The routes; `version` is the server's."""
    router = APIRouter(tags=["inference"], prefix=INFERENCE, route_class=PlainRoute)

    def found(request: Request) -> tuple[Endpoint, TensorTask]:
        """The model that a path names. Raises ModelNotFoundError."""
        name, number = request.path_params["name"], request.path_params.get("version")
        model = name if number is None else f"{name}/{number}"
        offered = [item.id for item in service.registry.models if service.tasks[item.model.task].tensors is not None]
        choices = ", ".join(offered) or "none"
        endpoint = service.registry.get(model)
        if endpoint is None:
            hint = nearest(model, offered)
            raise ModelNotFoundError(f"Model {shown(model)} not found.{hint} Models that take tensors: {choices}.")
        tensors = service.tasks[endpoint.model.task].tensors
        if tensors is None:
            raise ModelNotFoundError(
                f"Model {endpoint.id} is for {endpoint.model.task}, which is not asked by tensors; see /docs. Models "
                f"that are: {choices}."
            )
        return endpoint, tensors

    def begun(request: Request, asked: Asked) -> tuple[Endpoint, TensorTask]:
        """The model of a request that has work to do. Raises ApiError."""
        endpoint, tensors = found(request)
        record_of(request).task = endpoint.model.task
        record_of(request).most_seconds = seconds_from(asked.parameters)
        return endpoint, tensors

    async def answered(endpoint: Endpoint, tensors: TensorTask, request: Request, asked: Asked) -> Mapping[str, Array]:
        try:
            return await tensors.answer(service, endpoint, request, asked)
        except ApiError as error:
            error.rename(tensors.names)
            raise

    async def infer(request: Request) -> Response:
        """Outputs for the given inputs, in JSON, or as raw bytes where that is asked for."""
        length = header_of(request.scope, HEADER_LENGTH.encode())
        asked = await parsed_body(service, request, "inference", lambda body: asked_from(body, length))
        endpoint, tensors = begun(request, asked)
        names = [info.name for info in tensors.outputs(endpoint.model)]
        for name in asked.outputs or ():
            if name not in names:
                raise FieldError(
                    f"The model has no output {shown(name)}. Outputs: {', '.join(names)}.", param="outputs"
                )
        answer = await answered(endpoint, tensors, request, asked)
        made = partial(answer_of, asked, endpoint.model.name, endpoint.model.version, answer)
        is_large = sum(values.size for values in answer.values()) > LARGE_ANSWER
        return await asyncio.to_thread(made) if is_large else made()

    async def text_of(request: Request) -> tuple[Endpoint, TensorTask, Asked]:
        """A request of the generate extension. Raises ApiError."""
        asked = await parsed_body(service, request, "inference", asked_from_text)
        endpoint, tensors = begun(request, asked)
        if OUTPUT not in [info.name for info in tensors.outputs(endpoint.model)]:
            path = f"{INFERENCE}/models/{endpoint.model.name}/infer"
            raise FieldError(f"Model {endpoint.id} is for {endpoint.model.task}, and generates no text; ask {path}.")
        return endpoint, tensors, asked

    async def generate(request: Request) -> Response:
        """A text for a text; the parameters are those of /infer."""
        endpoint, tensors, asked = await text_of(request)
        found = await answered(endpoint, tensors, request, asked)
        outputs = {name: _plain(values[0]) for name, values in found.items()}
        return JsonAnswer({**_head(endpoint, asked), **outputs})

    async def generate_stream(request: Request) -> Response:
        """The same as server-sent events, each with what is new of the text."""
        endpoint, tensors, asked = await text_of(request)
        if tensors.stream is None:
            path = f"{INFERENCE}/models/{endpoint.model.name}/generate"
            raise FieldError(
                f"Model {endpoint.id} is for {endpoint.model.task}, which is not streamed here; ask {path}."
            )
        stream, head = tensors.stream(service, endpoint, request, asked), _head(endpoint, asked)

        async def events() -> AsyncGenerator[dict[str, Any]]:
            async with contextlib.aclosing(stream):
                async for outputs in stream:
                    yield {**head, **outputs}

        whole = events()
        try:
            first = await anext(whole)
        except ApiError as error:
            error.rename(tensors.names)
            raise
        return EventStream(first, whole, shape=inference_error, has_done=False)

    async def model(request: Request) -> Response:
        """Names, datatypes and shapes; -1 is an axis of any size."""
        endpoint, tensors = found(request)
        loaded = endpoint.model
        versions = [str(item.model.version) for item in service.registry.models if item.model.name == loaded.name]
        return JsonAnswer(
            {
                "name": loaded.name,
                "versions": versions,
                "platform": loaded.backend,
                "inputs": [_described(info) for info in tensors.inputs(loaded)],
                "outputs": [_described(info) for info in tensors.outputs(loaded)],
            }
        )

    async def model_ready(request: Request) -> Response:
        """200 while the model takes requests."""
        endpoint, _ = found(request)
        return JsonAnswer({"name": endpoint.model.name, "ready": endpoint.engine.is_alive})

    known = partial(described, None, error=ErrorText)

    @router.get("", summary="What this server is", **known(ServerMetadata))
    async def server(request: Request) -> Response:  # noqa: ARG001
        extensions = EXTENSIONS if service.settings.admin_key is None else [*EXTENSIONS, REPOSITORY]
        return JsonAnswer({"name": "rnnserve", "version": version, "extensions": extensions})

    @router.get("/health/live", summary="Whether the process should go on", **known(Live))
    async def live(request: Request) -> Response:  # noqa: ARG001
        return JsonAnswer({"live": service.is_alive}, status_code=200 if service.is_alive else 500)

    @router.get("/health/ready", summary="Whether requests are taken", **known(ServerReady))
    async def ready(request: Request) -> Response:  # noqa: ARG001
        service.check_ready()
        return JsonAnswer({"ready": service.is_alive}, status_code=200 if service.is_alive else 503)

    async def stats(request: Request) -> Response:
        """Requests and runtime calls, with their times, since the server started; the numbers of /metrics."""
        models = service.registry.models
        if "name" in request.path_params:
            endpoint, _ = found(request)
            is_one = "version" in request.path_params
            models = [item for item in models if item.model.name == endpoint.model.name]
            models = [endpoint] if is_one else models

        def made() -> StatsAnswer:
            return StatsAnswer(model_stats=[statistics_of(item, service.metrics) for item in models])

        return JsonAnswer((await service.in_turn(made)).model_dump())

    for path in ("/models/stats", f"{_MODEL}/stats", f"{_VERSION}/stats"):
        router.get(path, summary="What models have done", **known(StatsAnswer, statuses=(404,)))(stats)
    for path in (_MODEL, _VERSION):
        router.get(path, summary="What a model takes and gives", **known(ModelMetadata, statuses=(404,)))(model)
        router.get(f"{path}/ready", summary="Whether a model takes requests", **known(ModelReady, statuses=(404,)))(
            model_ready
        )
        router.post(
            f"{path}/infer",
            summary="Give tensors to a model",
            **described(
                InferRequest,
                InferAnswer,
                _EXAMPLE,
                is_timed=True,
                statuses=(409, 410),
                error=ErrorText,
                answers={BYTES: {"type": "string", "format": "binary", "description": _BINARY}},
            ),
        )(infer)
        for name, handler in (("generate", generate), ("generate_stream", generate_stream)):
            router.post(
                f"{path}/{name}",
                summary="Text for a text" + (", as a stream" if name == "generate_stream" else ""),
                **described(
                    TextRequest,
                    TextAnswer if name == "generate" else None,
                    _TEXT_EXAMPLE,
                    is_timed=True,
                    statuses=(409, 410),
                    error=ErrorText,
                    event=TextAnswer if name == "generate_stream" else None,
                ),
            )(handler)
    return router


def _head(endpoint: Endpoint, asked: Asked) -> dict[str, Any]:
    head = {"model_name": endpoint.model.name, "model_version": str(endpoint.model.version)}
    return head if asked.id is None else {"id": asked.id, **head}


def _plain(value: Any) -> Any:
    """An entry of a tensor as JSON has it."""
    return value.decode() if isinstance(value, bytes) else value


def _described(info: TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "datatype": info.datatype, "shape": info.shape}
