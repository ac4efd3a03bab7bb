"""Every error that a client can be answered with, its HTTP status, and its body.

RequestError (models.errors)
├── ClientGoneError                 nobody is there to be answered
└── ApiError
    ├── BadJsonError           400  the body is not JSON in UTF-8
    ├── ForbiddenError         403  only an operator may do that
    ├── ModelNotFoundError     404  no such model is loaded
    ├── SessionNotFoundError   404  no such session, or no longer
    ├── RouteNotFoundError     404  no such path
    ├── MethodNotAllowedError  405  the path does not take that method
    ├── SessionBusyError       409  another request uses the session
    ├── SessionConflictError   409  the server cannot continue or sign that session
    ├── BodyTooLargeError      413  the body is over the limit
    ├── FieldError             422  the JSON is not an object, or a field is wrong
    ├── SessionStateError      422  the bytes are not a session's state that this server has signed
    ├── OverloadedError        429  every permit of the model is taken, or every session
    ├── InternalError          500  a bug of ours
    ├── EngineError            500  the model failed while it ran
    ├── UnavailableError       503  loading or draining
    └── DeadlineError          504  the request took longer than it may

The status is in one table below. A message gives the name, the value, what is allowed, and what to do.
"""

import json
import re
from typing import Any

from models.errors import RequestError

MAX_SHOWN = 80


class ClientGoneError(RequestError):
    """Nobody is there to be answered."""


class ApiError(RequestError):
    """Base: an answer that is an error.

    Args:
        message: what the client reads.
        param: the field at fault, if it is one.
        code: which case of the class this is; each class has a usual one.
        headers: to be sent with the answer.
    """

    usual_code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.usual_code
        self.headers = headers or {}

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[type(self)]

    @property
    def body(self) -> dict[str, Any]:
        """The answer's body; `type` is the class's name in lower case, with underscores."""
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class BadJsonError(ApiError):
    """The body is not JSON in UTF-8."""

    usual_code = "json_invalid"


class ForbiddenError(ApiError):
    """Only an operator may do that."""

    usual_code = "forbidden"


class ModelNotFoundError(ApiError):
    """No such model is loaded."""

    usual_code = "model_not_found"


class SessionNotFoundError(ApiError):
    """No such session, or no longer."""

    usual_code = "session_not_found"


class RouteNotFoundError(ApiError):
    """No such path."""

    usual_code = "route_not_found"


class MethodNotAllowedError(ApiError):
    """The path does not take that method."""

    usual_code = "method_not_allowed"


class SessionBusyError(ApiError):
    """Another request uses the session."""

    usual_code = "session_busy"


class SessionConflictError(ApiError):
    """The server cannot continue or sign that session."""

    usual_code = "session_conflict"


class BodyTooLargeError(ApiError):
    """The body is over the limit."""

    usual_code = "body_too_large"


class FieldError(ApiError):
    """The JSON is not an object, or a field is wrong."""

    usual_code = "field_invalid"


class SessionStateError(ApiError):
    """The bytes are not a session's state that this server has signed."""

    usual_code = "session_state_invalid"


class OverloadedError(ApiError):
    """Every permit of the model is taken, or every session."""

    usual_code = "overloaded"


class InternalError(ApiError):
    """A bug of ours."""


class EngineError(ApiError):
    """The model failed while it ran."""

    usual_code = "engine_failed"


class UnavailableError(ApiError):
    """Loading or draining."""

    usual_code = "unavailable"


class DeadlineError(ApiError):
    """The request took longer than it may."""

    usual_code = "deadline_exceeded"


STATUS: dict[type[ApiError], int] = {
    BadJsonError: 400,
    ForbiddenError: 403,
    ModelNotFoundError: 404,
    SessionNotFoundError: 404,
    RouteNotFoundError: 404,
    MethodNotAllowedError: 405,
    SessionBusyError: 409,
    SessionConflictError: 409,
    BodyTooLargeError: 413,
    FieldError: 422,
    SessionStateError: 422,
    OverloadedError: 429,
    InternalError: 500,
    EngineError: 500,
    UnavailableError: 503,
    DeadlineError: 504,
}


def shown(value: object) -> str:
    """A value from outside as it may stand in a message: ASCII, at most MAX_SHOWN characters, as JSON has it."""
    if isinstance(value, str):
        return ascii(value[:MAX_SHOWN])[:MAX_SHOWN]
    try:
        return json.dumps(value)[:MAX_SHOWN]
    except TypeError:  # not of JSON: a value of our own
        return ascii(value)[:MAX_SHOWN]
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
