"""POST /models/MODEL, and / where one model or a default decides: Hugging Face's task JSON
(https://huggingface.co/docs/inference-providers/tasks/index).

Which task a model answers for, its record says (server.endpoint.HuggingFaceTask). An error is {"error": "a sentence",
"error_type"}.
"""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, RootModel
from starlette.responses import Response

from server.admission import parsed_body
from server.api.description import TypedErrorText, described
from server.api.hugging_face.request import Asked, TaskRequest, asked_from
from server.endpoint import Endpoint, HuggingFaceTask
from server.errors import ApiError, FieldError, ModelNotFoundError, shown
from server.http.access import HUGGING_FACE, PlainRoute, record_of
from server.service import Service


class StreamEvent(BaseModel):
    """Of generated text: a token, as text-generation-inference has it; the last one has the whole text and details."""

    index: int
    token: dict[str, Any]
    generated_text: str | None
    details: dict[str, Any] | None


class TaskAnswer(RootModel[list[Any] | dict[str, Any]]):
    """What the model's task answers with: docs/api.md shows each."""


_EXAMPLE = {"inputs": "Anna flew to Oslo.", "parameters": {"aggregation_strategy": "simple"}}


def hugging_face_router(service: Service) -> APIRouter:
    """The two routes."""
    router = APIRouter(tags=["Hugging Face"], route_class=PlainRoute)

    def found(request: Request) -> tuple[Endpoint, HuggingFaceTask]:
        """The model that a path means. Raises ModelNotFoundError, FieldError."""
        offered = [item for item in service.registry.by_name if service.tasks[item.model.task].hugging_face is not None]
        addresses = ", ".join(f"{HUGGING_FACE}{item.model.name}" for item in offered) or "none"
        name = request.path_params.get("model")
        if name is None:
            endpoint = service.registry.only_of({item.model.task for item in offered})
            if endpoint is None:
                raise FieldError(
                    f"/ has {len(offered)} models to choose from. Send the request to the address of one: {addresses}."
                )
        else:
            endpoint = service.registry.get(name)
            if endpoint is None:
                raise ModelNotFoundError(f"Model {shown(name)} not found. Addresses of those loaded: {addresses}.")
        task = service.tasks[endpoint.model.task].hugging_face
        if task is None:
            raise ModelNotFoundError(
                f"Model {endpoint.id} is for {endpoint.model.task}, which is asked in another way; see /docs. "
                f"Addresses of models that read text: {addresses}."
            )
        return endpoint, task

    async def answer(request: Request) -> Response:
        """What the model of the path makes of the inputs; its task decides which parameters there are."""

        def parse(body: bytes) -> tuple[Endpoint, HuggingFaceTask, Asked]:
            endpoint, task = found(request)
            return endpoint, task, asked_from(body, task)

        endpoint, task, asked = await parsed_body(service, request, "hugging face", parse)
        record_of(request).task = endpoint.model.task
        try:
            return await task.answer(service, endpoint, request, asked)
        except ApiError as error:
            error.rename(task.names)
            raise

    for path in (f"{HUGGING_FACE}{{model:path}}", "/"):
        router.post(
            path,
            summary="A task, as Hugging Face's inference API has it",
            **described(TaskRequest, TaskAnswer, _EXAMPLE, is_timed=True, error=TypedErrorText, event=StreamEvent),
        )(answer)
    return router
