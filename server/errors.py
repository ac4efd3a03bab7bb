"""Every error that a client can be answered with, its HTTP status, and its body.

RequestError (models.errors)
├── ClientGoneError   nobody is there to be answered
└── ApiError          all others; the line of each names its status and its usual code

A message gives the name, the value, what is allowed, and what to do.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from models.errors import RequestError

MAX_SHOWN = 80
_MOST_COMPARED, _LONGEST_COMPARED = 100, 48  # names, and characters of one, so that a message never takes long
_EMOJI = "\u2600-\u27bf\U0001f000-\U0001faff"
_IN_EMOJI = re.compile(f"(?<=[{_EMOJI}])\ufe0f|(?<=[{_EMOJI}\ufe0f])\u200d(?=[{_EMOJI}])")  # what joins them to one
# What Python calls printable, and nobody sees: fillers, blanks, variation selectors.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


class ClientGoneError(RequestError):
    """Nobody is there to be answered."""


class ApiError(RequestError):
    """Base: an answer that is an error.

    Args:
        message: what the client reads.
        param: the field at fault, if it is one.
        code: which case of the class this is, if not the usual one.
        headers: to be sent with the answer.
    """

    status: int
    usual_code: str

    def __init_subclass__(cls, status: int, code: str) -> None:
        cls.status, cls.usual_code = status, code

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code or self.usual_code
        self.headers = headers or {}

    def rename(self, names: Mapping[str, str]) -> None:
        """Speak of a field as a dialect names it.

        Args:
            names: our name of a field -> the dialect's.
        """
        if self.param is not None and self.param in names:
            self.message = re.sub(rf"^{self.param}\b", names[self.param], self.message)
            self.param = names[self.param]

    @property
    def body(self) -> dict[str, Any]:
        """The answer's body; `type` is the class's name in lower case, with underscores."""
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class BadJsonError(ApiError, status=400, code="json_invalid"):
    """The body is not JSON in UTF-8."""


class BadRequestError(ApiError, status=400, code="request_invalid"):
    """It is not HTTP/1.1."""


class UnauthorizedError(ApiError, status=401, code="key_invalid"):
    """The server asks for an API key, and none or a wrong one was given."""


class ForbiddenError(ApiError, status=403, code="forbidden"):
    """Only an operator may do that, or a web page of another origin asks."""


class ModelNotFoundError(ApiError, status=404, code="model_not_found"):
    """No such model is loaded."""


class SessionNotFoundError(ApiError, status=404, code="session_not_found"):
    """No such session, or no longer."""


class RouteNotFoundError(ApiError, status=404, code="route_not_found"):
    """No such path."""


class MethodNotAllowedError(ApiError, status=405, code="method_not_allowed"):
    """The path does not take that method."""


class HeadTooSlowError(ApiError, status=408, code="head_too_slow"):
    """The request's head did not come in time."""


class SessionBusyError(ApiError, status=409, code="session_busy"):
    """Another request uses the session."""


class SessionConflictError(ApiError, status=409, code="session_conflict"):
    """The server cannot continue or sign that session."""


class SessionGoneError(ApiError, status=410, code="session_deleted"):
    """The session was deleted, and its id is not used again for now."""


class BodyTooLargeError(ApiError, status=413, code="body_too_large"):
    """The body is over the limit."""


class UnsupportedMediaTypeError(ApiError, status=415, code="media_type_unsupported"):
    """The body has an encoding or a charset that the server does not read."""


class FieldError(ApiError, status=422, code="field_invalid"):
    """The JSON is not an object, or a field is wrong."""


class SessionStateError(ApiError, status=422, code="session_state_invalid"):
    """The bytes are not a session's state that this server has signed."""


class HeadTooLargeError(ApiError, status=431, code="head_too_large"):
    """The request's head is over the limit."""


class OverloadedError(ApiError, status=429, code="overloaded"):
    """Every permit of the model is taken, or every session."""


class InternalError(ApiError, status=500, code="internal_error"):
    """A bug of ours."""

    def __init__(self) -> None:
        super().__init__("Something went wrong in the server; its log says what.")


class EngineError(ApiError, status=500, code="engine_failed"):
    """The model failed while it ran."""


class UnavailableError(ApiError, status=503, code="unavailable"):
    """Loading or draining."""


class TooManyConnectionsError(ApiError, status=503, code="connections_full"):
    """Every connection is in use."""


class DeadlineError(ApiError, status=504, code="deadline_exceeded"):
    """The request took longer than it may."""


def shown(value: object) -> str:
    """A value from outside as it may stand in a message: at most MAX_SHOWN characters, text in quotes, others as JSON.

    Text is shown as it is, but control characters, those that turn its direction, invisible ones and surrogates as
    their escapes, so that a message shows all that is in it.
    """
    if isinstance(value, str):
        text = value[:MAX_SHOWN]
        quote = '"' if "'" in text and '"' not in text else "'"
        escaped = _visible(text.replace("\\", "\\\\").replace(quote, f"\\{quote}"))
        return f"{quote}{escaped}{quote}"[:MAX_SHOWN]
    text = ""
    try:
        for piece in json.JSONEncoder(ensure_ascii=False).iterencode(value):  # no further than what is shown
            text += piece[: MAX_SHOWN + 1]
            if len(text) > MAX_SHOWN:
                break
        return _visible(text[:MAX_SHOWN])[:MAX_SHOWN]
    except TypeError:  # not of JSON: a value of our own
        return ascii(value)[:MAX_SHOWN]
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"


def _visible(text: str) -> str:
    """Text with the escapes of what cannot be seen."""
    if text.isprintable() and not _UNSEEN.search(text):
        return text
    joins = {found.start() for found in _IN_EMOJI.finditer(text)}
    return "".join(
        char if i in joins or (char.isprintable() and not _UNSEEN.match(char)) else ascii(char)[1:-1]
        for i, char in enumerate(text)
    )


def nearest(name: object, known: Iterable[str]) -> str:
    """` Did you mean X?` where a known name is like the one that was given, else nothing.

    Long names are not compared, nor more than the first 100 known ones, so that it takes few milliseconds at most.
    """
    if not isinstance(name, str) or len(name) > _LONGEST_COMPARED:
        return ""
    by_lower = {each.lower(): each for each in islice(known, _MOST_COMPARED) if len(each) <= _LONGEST_COMPARED}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.7)
    return f" Did you mean {by_lower[found[0]]}?" if found else ""
