"""/v2: the Open Inference Protocol (https://github.com/kserve/open-inference-protocol) with Triton's binary-tensor and
sequence extensions. Which models answer, and how, their tasks say (server.endpoint.TensorTask).

An error is {"error": "a sentence"}.
"""

import asyncio
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from server.admission import parsed_body
from server.api.description import BYTES, ErrorText, described
from server.api.inference.tensors import HEADER_LENGTH, InferRequest, answer_of, asked_from
from server.endpoint import Endpoint, TensorInfo, TensorTask
from server.errors import ApiError, BadRequestError, FieldError, ModelNotFoundError, nearest, shown
from server.http.access import INFERENCE, JsonAnswer, PlainRoute, header_of, record_of
from server.service import Service

EXTENSIONS = ["binary_tensor_data", "sequence", "sequence(string_id)"]
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

    async def infer(request: Request) -> Response:
        """Outputs for the given inputs, in JSON, or as raw bytes where that is asked for."""
        length = header_of(request.scope, HEADER_LENGTH.encode())
        asked = await parsed_body(service, request, "inference", lambda body: asked_from(body, length))
        endpoint, tensors = found(request)
        record_of(request).task = endpoint.model.task
        answer = await tensors.answer(service, endpoint, request, asked)
        made = partial(answer_of, asked, endpoint.model.name, endpoint.model.version, answer)
        is_large = sum(values.size for values in answer.values()) > LARGE_ANSWER
        return await asyncio.to_thread(made) if is_large else made()

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
        return JsonAnswer({"name": "rnnserve", "version": version, "extensions": EXTENSIONS})

    @router.get("/health/live", summary="Whether the process should go on", **known(Live))
    async def live(request: Request) -> Response:  # noqa: ARG001
        return JsonAnswer({"live": service.is_alive}, status_code=200 if service.is_alive else 500)

    @router.get("/health/ready", summary="Whether requests are taken", **known(ServerReady))
    async def ready(request: Request) -> Response:  # noqa: ARG001
        service.check_ready()
        return JsonAnswer({"ready": service.is_alive}, status_code=200 if service.is_alive else 503)

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
    return router


def _described(info: TensorInfo) -> dict[str, Any]:
    return {"name": info.name, "datatype": info.datatype, "shape": info.shape}
