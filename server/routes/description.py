"""How a task's route describes itself for /docs and /openapi.json."""

from typing import Any

from pydantic import BaseModel

from server.contract.error import ErrorAnswer

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 404, 413, 422, 429, 500, 503)
}


def described(request: type[BaseModel], answer: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """Arguments for a route whose body the framework does not read.

    Args:
        request: the body.
        answer: the body of status 200.
        example: a request worth trying.
    """
    content = {"application/json": {"schema": request.model_json_schema(), "example": example}}
    return {
        "responses": {200: {"model": answer}, **_ERRORS},
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }
