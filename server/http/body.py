"""A request's body: read within a limit of size and of time, then checked, with errors that name the field, what it
holds and what is allowed.

The framework's own validation is not used: it answers 500 to NaN, to 1e400 and to lone surrogates, and sends back
whatever it was given.
"""

import asyncio
import contextlib
import re
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from server.errors import (
    ApiError,
    BadJsonError,
    BodyTooLargeError,
    DeadlineError,
    FieldError,
    UnsupportedMediaTypeError,
    nearest,
    shown,
)
from server.http.access import discard_body, expects_continue, header_of, record_of
from server.http.encoding import Unpacker, encoding_of
from server.http.limits import HeldBytes
from server.settings import Settings

HEADER = "x-request-timeout-ms"
MOST_MS = 600_000
MAX_ERRORS = 5
MAX_FIELDS, MAX_ENTRIES = 100, 4096  # of the body's object, and of any list or object in it: more is not looked at
# Seconds that a body is given however short the request's time is: one that is on its way is let come, because a client
# that is still sending when the connection closes sees a reset instead of the answer.
_LEAST_SECONDS = 5.0

_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([^"';\s]*)""", re.IGNORECASE)
_UTF_8 = ("utf-8", "utf8", "us-ascii")
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

Asked = TypeVar("Asked", bound=BaseModel)


def timeout_seconds(request: Request, default_ms: int) -> float:
    """The time that a request may take, from its arrival: as its header says, or the default.

    Raises:
        FieldError: the header is no whole number from 1 to MOST_MS.
    """
    text = header_of(request.scope, HEADER.encode())
    if text is None:
        return default_ms / 1000
    if not (text.isascii() and text.isdigit() and len(text) <= 7 and 1 <= int(text) <= MOST_MS):
        raise FieldError(
            f"{HEADER}: must be a whole number of milliseconds from 1 to {MOST_MS} (got {shown(text)}).", param=HEADER
        )
    return int(text) / 1000


async def read_body(request: Request, settings: Settings, held: HeldBytes) -> bytes:
    """The whole body, which must come within the time that the request has.

    A body that is refused is read to its end and thrown away before the error is raised: a client that is still
    sending when the connection closes would see a reset instead of the answer. One that asked first
    (Expect: 100-continue) is answered at once. A compressed body is unpacked as it comes, up to the limit.

    Raises:
        BadRequestError: it is not compressed as it says.
        BodyTooLargeError: Content-Length says so, or so many bytes came, or it unpacks to so many.
        ClientDisconnect: the client left.
        DeadlineError: the request's time is over, and at least 5 s.
        OverloadedError: the bodies of all requests have too many bytes.
        UnsupportedMediaTypeError: it is compressed in another way than those that are read.
    """
    try:
        seconds = timeout_seconds(request, settings.request_timeout_ms)
    except FieldError:  # is answered once the body is here
        seconds = settings.request_timeout_ms / 1000
    seconds = max(seconds, _LEAST_SECONDS)
    try:
        async with asyncio.timeout(seconds):
            return await _whole(request, settings.max_body_bytes, held)
    except TimeoutError:
        message = f"The body was not here after {round(seconds)} s. Send it faster, or a larger {HEADER}."
        raise DeadlineError(message, headers={"connection": "close"}) from None


async def _whole(request: Request, limit: int, held: HeldBytes) -> bytes:
    """The whole body, of at most so many bytes. Raises ApiError, ClientDisconnect."""
    try:
        announced = (header_of(request.scope, b"content-length") or "")[:20]
        if announced.isascii() and announced.isdigit() and int(announced) > limit:
            raise _too_large(f"is {int(announced)} bytes", limit)
        encoding = encoding_of(header_of(request.scope, b"content-encoding"))
    except ApiError:
        if not expects_continue(request.scope):
            await discard_body(request.receive)
        raise
    body, record, num_received = bytearray(), record_of(request), 0
    unpacker = Unpacker(encoding) if encoding is not None else None
    wrong: ApiError | None = None  # then what still comes is thrown away
    async for chunk in request.stream():
        num_received += len(chunk)
        if wrong is not None:
            continue
        try:
            found = chunk if unpacker is None else await unpacker.unpack(chunk, limit + 1 - len(body))
            if num_received > limit:
                raise _too_large(f"is over {limit} bytes", limit)
            if len(body) + len(found) > limit:
                raise _too_large(f"unpacks to over {limit} bytes", limit)
        except ApiError as error:
            wrong, body = error, bytearray()
            continue
        body += found
        held.take(record, len(found))
    if wrong is not None:
        raise wrong
    if unpacker is not None:
        unpacker.finish()
    return bytes(body)


def _too_large(found: str, limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"The body {found}; at most {limit} are allowed (RNNSERVE_MAX_BODY_BYTES).")


def check_charset(request: Request) -> None:
    """Refuse a body that is said to be in another charset than UTF-8.

    Raises:
        UnsupportedMediaTypeError: it is so.
    """
    found = _CHARSET.search(header_of(request.scope, b"content-type") or "")
    if found is not None and found[1].lower() not in _UTF_8:
        raise UnsupportedMediaTypeError(
            f"The content-type has the charset {shown(found[1])}; utf-8 is read. Send the body in utf-8.",
            code="charset_unsupported",
        )


def form_type_of(request: Request) -> str | None:
    """The media type of a request that says it is a form, else None."""
    media_type = (header_of(request.scope, b"content-type") or "").partition(";")[0].strip().lower()
    return media_type if media_type in _FORMS else None


def request_from(kind: type[Asked], body: bytes, max_entries: int | None = MAX_ENTRIES) -> Asked:
    """Parse and check a body: JSON in UTF-8, without a byte order mark, whose object becomes one of class `kind`.

    Of a key given twice the last counts.

    Args:
        kind: what it becomes.
        body: the whole.
        max_entries: of any list or object in it; None where lists of numbers may have any length.

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
    _check_entries(data, max_entries)
    return checked(kind, data)


def checked(kind: type[Asked], data: dict[str, Any]) -> Asked:
    """An object of class `kind` from its fields. Raises FieldError: one is wrong; `param` is the first such."""
    try:
        try:
            return kind.model_validate(data)
        except ValidationError as error:
            if not _has_made_whole(data, error):
                raise
            return kind.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        sentences = [_sentence(kind, problem) for problem in problems[:MAX_ERRORS]]
        codes = {"missing": "field_missing", "extra_forbidden": "field_unknown"}
        code = codes.get(problems[0]["type"], "field_invalid")
        raise FieldError(" ".join(sentences), param=_param(problems[0]), code=code) from None


def _has_made_whole(data: dict[str, Any], error: ValidationError) -> bool:
    """Whether a number such as 2.0 stood where an integer is wanted: JSON has one kind of number, and it is 2 then."""
    if error.error_count() > MAX_FIELDS:
        return False
    has_changed = False
    for problem in error.errors(include_url=False, include_context=False):
        value = problem["input"]
        if problem["type"] != "int_type" or not isinstance(value, float) or not value.is_integer():
            continue
        place: Any = data
        with contextlib.suppress(KeyError, IndexError, TypeError):  # below a union, whose choice stands in `loc` too
            for key in problem["loc"][:-1]:
                place = place[key]
            place[problem["loc"][-1]] = int(value)
            has_changed = True
    return has_changed


def _check_entries(data: dict[Any, Any], most: int | None) -> None:
    """Refuse what would take long to check, and hold up all others. Raises FieldError."""
    if len(data) > MAX_FIELDS:
        raise FieldError(f"The body has {len(data)} fields; at most {MAX_FIELDS} are looked at.", code="field_unknown")
    if most is None:
        return
    waiting = list(data.items())
    while waiting:
        name, value = waiting.pop()
        if not isinstance(value, list | dict):
            continue
        if len(value) > most:
            shown_name = shown(name)[1:-1]
            message = f"{shown_name}: {len(value)} entries; at most {most} are allowed. Send them in several requests."
            raise FieldError(message, param=shown_name)
        waiting += [(name, entry) for entry in (value.values() if isinstance(value, dict) else value)]


def _param(problem: Any) -> str | None:
    """The field at fault; what a client made up is cut and escaped."""
    if not problem["loc"]:
        return None
    name = str(problem["loc"][0])
    return shown(name)[1:-1] if problem["type"] == "extra_forbidden" else name


def _sentence(kind: type[BaseModel], problem: Any) -> str:
    param = _param(problem)
    place = problem["loc"]
    if problem["type"] in ("missing", "extra_forbidden") and len(place) > 2:  # a list's entry has no such field
        name = shown(place[-1])
        what = f"{place[-1]} is required" if problem["type"] == "missing" else f"unknown field {name}"
        return f"{place[0]}: {what} in entry {place[1]}."
    if problem["type"] == "missing":
        return f"{param} is required."
    if problem["type"] == "extra_forbidden":
        name = problem["loc"][0]
        return f"Unknown field {shown(name)}.{nearest(name, kind.model_fields)} Fields: {', '.join(kind.model_fields)}."
    message = problem["msg"].removeprefix("Value error, ")
    if param is None:  # a rule between fields
        return f"{message}."
    return f"{param}: {message} (got {shown(problem['input'])})."
