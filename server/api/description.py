"""How a task's route describes itself for /docs and /openapi.json."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, Field

from server.http.body import HEADER, MOST_MS


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str = Field(description="The error's class.")
    param: str | None = Field(description="The field at fault, if it is one.")
    code: str = Field(description="Which case of the class it is.")


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


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


def responses(answer: type[BaseModel] | None, *statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's answer of status 200, and the errors that it has."""
    return {**({200: {"model": answer}} if answer else {}), **{status: {"model": ErrorAnswer} for status in statuses}}


def described(
    request: type[BaseModel],
    answer: type[BaseModel],
    example: dict[str, Any],
    *,
    statuses: Iterable[int] = (),
    is_timed: bool = False,
) -> dict[str, Any]:
    """Arguments for a route whose body the framework does not read.

    Args:
        request: the body.
        answer: the body of status 200.
        example: a request worth trying.
        statuses: of errors that other routes do not have.
        is_timed: whether a client may say how long it takes, and gets what it took.
    """
    found = responses(answer, 400, 404, 413, 422, 429, 500, 503, *statuses)
    content = {"application/json": {"schema": request.model_json_schema(), "example": example}}
    extra: dict[str, Any] = {"requestBody": {"required": True, "content": content}}
    if is_timed:
        found[200]["headers"] = _TIMES
        found[504] = {"model": ErrorAnswer}
        extra["parameters"] = [_TIMEOUT]
    return {"responses": found, "openapi_extra": extra}
