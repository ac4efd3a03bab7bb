"""What a route says of itself for /docs and /openapi.json, which server.api.openapi makes of it.

Every route has `**described(...)`. A test sends requests made from the whole document to a real server
(tests/server/api/test_openapi.py), so an answer that is not as described, or a status that is not, fails there.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, Field

from server.http.body import HEADER, MOST_MS

BODY_STATUSES = (400, 404, 413, 415, 422, 429, 500, 503, 504)  # that a request with a body can be answered with
JSON, FORM, EVENTS, BYTES = (
    "application/json",
    "application/x-www-form-urlencoded",
    "text/event-stream",
    "application/octet-stream",
)


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str = Field(description="The error's class.")
    param: str | None = Field(description="The field at fault, if it is one.")
    code: str = Field(description="Which case of the class it is.")


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


class Timings(BaseModel):
    """Of a stream's last event: milliseconds since the request's arrival."""

    queue_time: float = Field(description="Before its first call.")
    inference_time: float = Field(description="From there on.")
    total_time: float


class ErrorText(BaseModel):
    """An error of a dialect whose clients read one sentence."""

    error: str


class TypedErrorText(ErrorText):
    """An error of a dialect whose clients read one sentence and its kind."""

    error_type: str


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


def responses(
    answer: type[BaseModel] | None, *statuses: int, error: type[BaseModel] = ErrorAnswer
) -> dict[int | str, dict[str, Any]]:
    """A route's answer of status 200, and the errors that it has; see `described`."""
    return {**({200: {"answer": answer}} if answer else {}), **{status: {"answer": error} for status in statuses}}


def described(
    request: type[BaseModel] | None,
    answer: type[BaseModel] | None,
    example: Any = None,
    *,
    statuses: Iterable[int] = (),
    is_timed: bool = False,
    error: type[BaseModel] = ErrorAnswer,
    event: type[BaseModel] | None = None,
    answers: Mapping[str, Any] | None = None,
    bodies: Iterable[str] = (JSON,),
    is_required: bool = True,
    raw: Mapping[str, Any] | None = None,
    parameters: Iterable[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Arguments for a route that describe it: `@router.post(path, summary=..., **described(...))`.

    What need not be said, because it is added for every route: parameters of the path; 400, 403, 408, 431, 500 and 503;
    with a body also 404, 413, 415, 422, 429 and 504; 401 and the security scheme where keys are asked for;
    x-request-id and retry-after. Statuses are named as `server.errors` has them: those of a dialect are what its
    function in `app.state.error_shapes` makes of them, so 422 stays 422 here where the dialect answers 400.

    Models say as much as can be said: a field with a validator of its own needs WithJsonSchema with what that allows.

    Args:
        request: the body as it is checked; None for a route that reads none.
        answer: the body of status 200 in JSON; None where `answers` has all.
        example: a request worth trying, which /docs fills its form with.
        statuses: of further errors.
        is_timed: whether a client may say how long it takes (x-request-timeout-ms), and gets what it took.
        error: the body of errors, where a dialect has its own: ErrorText for {"error": "a sentence"}.
        event: of a stream, what the data of each event is; adds text/event-stream to status 200.
        answers: further media types of status 200, each with its schema.
        bodies: media types in which the request may be sent: JSON, FORM.
        is_required: whether there must be a body.
        raw: instead of `request`, media types of a body that is no JSON, each with its schema.
        parameters: of the query and headers, as OpenAPI has them; those of the path only to describe them better.
    """
    own = () if request is None and raw is None else BODY_STATUSES
    found = responses(answer, *sorted({*own, *statuses}), error=error)
    success = found.setdefault(200, {})
    if answers:
        success["content"] = {kind: {"schema": schema} for kind, schema in answers.items()}
    if event is not None:
        success["event"] = event
    extra: dict[str, Any] = {"error": error, "parameters": list(parameters)}
    if request is not None:
        extra["body"] = {"model": request, "types": tuple(bodies), "required": is_required, "example": example}
    elif raw is not None:
        content = {kind: {"schema": schema} for kind, schema in raw.items()}
        extra["requestBody"] = {"required": is_required, "content": content}
    if is_timed:
        success["headers"] = _TIMES
        extra["parameters"].append(_TIMEOUT)
    return {"responses": found, "openapi_extra": extra}
