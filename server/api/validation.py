"""From a request's bytes to a checked object, with errors that name the field, what it holds and what is allowed.

The framework's own validation is not used: it answers 500 to NaN, to 1e400 and to lone surrogates, and sends back
whatever it was given.
"""

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from server.errors import BadJsonError, FieldError, shown

MAX_ERRORS = 5
Request = TypeVar("Request", bound=BaseModel)


def request_from(kind: type[Request], body: bytes) -> Request:
    """Parse and check a body. Of a key given twice the last counts; the content type is not looked at.

    Args:
        kind: the request's class.
        body: JSON in UTF-8, without a byte order mark.

    Raises:
        BadJsonError: it is not JSON in UTF-8. NaN, Infinity, numbers beyond float64 and lone surrogates are not.
        FieldError: it is not an object, or a field is wrong; `param` is the first such field.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        detail = "the body is empty" if not body else str(error)
        raise BadJsonError(f"The body is not valid JSON in UTF-8: {detail}. Send one JSON object.") from None
    if not isinstance(data, dict):
        raise FieldError(f"The body must be a JSON object, not {shown(data)}.", code="body_not_object")
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        sentences = [_sentence(kind, problem) for problem in problems[:MAX_ERRORS]]
        codes = {"missing": "field_missing", "extra_forbidden": "field_unknown"}
        code = codes.get(problems[0]["type"], "field_invalid")
        raise FieldError(" ".join(sentences), param=_param(problems[0]), code=code) from None


def _param(problem: Any) -> str | None:
    """The field at fault; what a client made up is cut and escaped."""
    if not problem["loc"]:
        return None
    name = str(problem["loc"][0])
    return shown(name)[1:-1] if problem["type"] == "extra_forbidden" else name


def _sentence(kind: type[BaseModel], problem: Any) -> str:
    param = _param(problem)
    if problem["type"] == "missing":
        return f"{param} is required."
    if problem["type"] == "extra_forbidden":
        return f"Unknown field {shown(problem['loc'][0])}. Fields: {', '.join(kind.model_fields)}."
    message = problem["msg"].removeprefix("Value error, ")
    return f"{param}: {message} (got {shown(problem['input'])})."


def texts_from(value: Any, most: int) -> tuple[str, ...]:
    """One string or a list of strings, none empty, as a tuple.

    Args:
        value: what the request holds.
        most: strings allowed.

    Raises:
        ValueError: it is something else; a plain sentence.
    """
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be a string or a list of strings")
    if not 1 <= len(texts) <= most:
        raise ValueError(f"{len(texts)} strings; 1 to {most} are allowed")
    if "" in texts:
        raise ValueError(f"string {texts.index('')} is empty; each needs at least one character")
    return tuple(texts)


def texts_schema(most: int) -> dict[str, Any]:
    """The JSON schema of such a field."""
    text = {"type": "string", "minLength": 1}
    return {"anyOf": [text, {"type": "array", "items": text, "minItems": 1, "maxItems": most}]}
