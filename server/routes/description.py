"""How a task's route describes itself for /docs and /openapi.json."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from server.contract.error import ErrorAnswer

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 404, 413, 422, 429, 500, 503)
}


def described(
    request: type[BaseModel] | None,
    answer: type[BaseModel],
    example: dict[str, Any] | None = None,
    *,
    statuses: Iterable[int] = (),
) -> dict[str, Any]:
    """Arguments for a route whose body the framework does not read.

    Args:
        request: the body; None where there is none.
        answer: the body of status 200.
        example: a request worth trying.
        statuses: of errors that other tasks' routes do not have.
    """
    errors = dict(_ERRORS)
    errors.update({status: {"model": ErrorAnswer} for status in statuses})
    arguments: dict[str, Any] = {"responses": {200: {"model": answer}, **errors}}
    if request is not None:
        content = {"application/json": {"schema": request.model_json_schema(), "example": example}}
        arguments["openapi_extra"] = {"requestBody": {"required": True, "content": content}}
    return arguments
