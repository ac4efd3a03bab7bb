"""How a task's route describes itself for /docs and /openapi.json."""

from collections.abc import Callable, Coroutine, Iterable
from typing import Annotated, Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import request_response

from server.http.body import HEADER, MOST_MS


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: Annotated[str, Field(description="The error's class.")]
    param: Annotated[str | None, Field(description="The field at fault, if it is one.")]
    code: Annotated[str, Field(description="Which case of the class it is.")]


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 404, 413, 422, 429, 500, 503)
}

_TIMEOUT = {
    "name": HEADER,
    "in": "header",
    "description": "Milliseconds that the request may take; then it is answered 504 and its work stops.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MOST_MS},
}
_TIMES = {
    f"x-{name}-time": {"description": f"Milliseconds, {what}.", "schema": {"type": "number"}}
    for name, what in (("queue", "before its first call"), ("inference", "from there on"), ("total", "both together"))
}


def described(
    request: type[BaseModel] | None,
    answer: type[BaseModel],
    example: dict[str, Any] | None = None,
    *,
    statuses: Iterable[int] = (),
    is_timed: bool = False,
) -> dict[str, Any]:
    """Arguments for a route whose body the framework does not read.

    Args:
        request: the body; None where there is none.
        answer: the body of status 200.
        example: a request worth trying.
        statuses: of errors that other tasks' routes do not have.
        is_timed: whether a client may say how long it takes, and gets what it took.
    """
    errors = dict(_ERRORS)
    errors.update({status: {"model": ErrorAnswer} for status in statuses})
    if is_timed:
        errors[504] = {"model": ErrorAnswer}
    timed = {"headers": _TIMES} if is_timed else {}
    arguments: dict[str, Any] = {"responses": {200: {"model": answer, **timed}, **errors}}
    if request is not None:
        content = {"application/json": {"schema": request.model_json_schema(), "example": example}}
        arguments["openapi_extra"] = {"requestBody": {"required": True, "content": content}}
        if is_timed:
            arguments["openapi_extra"]["parameters"] = [_TIMEOUT]
    return arguments


class PlainRoute(APIRoute):
    """A route whose endpoint reads its request and makes its answer by itself.

    The framework describes it and finds it; what it would do for arguments, dependencies and answers takes as long as
    the endpoint, so it is left out.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **arguments: Any) -> None:
        super().__init__(path, endpoint, **arguments)
        self.app = request_response(endpoint)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint."""
        handler: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return handler
