"""Around every request: its id, its line in the log, its place in the metrics, and an answer whatever happens."""

import asyncio
import contextlib
import random
import re
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.engine.outputs import Times
from server.errors import ApiError, ClientGoneError, InternalError, OverloadedError
from server.limiter import Limiter
from server.metrics import Metrics

_random = random.Random()  # seeded by the system


def new_id() -> str:
    """32 hexadecimal digits, 128 random bits."""
    return f"{_random.getrandbits(128):032x}"


def new_seed() -> int:
    """A seed of 53 bits, so that clients whose numbers are floats can send it back unchanged."""
    return _random.getrandbits(53)


class JsonAnswer(Response):
    """A body written by orjson."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The content as JSON in UTF-8; arrays are lists, float32 with the fewest digits that give it again."""
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def error_answer(error: ApiError) -> JsonAnswer:
    """The answer to a request that failed."""
    return JsonAnswer(error.body, status_code=error.status, headers=error.headers)


log = structlog.get_logger()

REQUEST_ID = "x-request-id"
MAX_REQUEST_ID = 128
CLIENT_GONE = 499  # nginx's word for it, in the log and the metrics; nobody is sent it
_DISCARD_SECONDS = 5.0  # that a body on its way is given when its request is refused
_ALLOWED_ID = re.compile(r"[\x21-\x7e]+")


@dataclass
class Record:
    """What is known of a request by its end. Routes fill it in.

    Attributes:
        request_id: given by the client or made.
        task: what was asked for; empty for paths that do no work.
        model: the loaded model's id, or empty.
        error: the code of the error it was answered with, or empty.
        prompt_tokens: tokens read.
        completion_tokens: tokens made.
        started: its arrival, by time.perf_counter.
        times: what the engine has noted, once a whole answer is there.
    """

    request_id: str
    task: str = ""
    model: str = ""
    error: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    started: float = field(default_factory=time.perf_counter)
    times: Times | None = None

    def timings(self, times: Times) -> dict[str, float]:
        """Milliseconds since the request's arrival: before its first call, from there to now, and both."""
        now = time.perf_counter()
        seconds = {
            "queue_time": times.began - self.started,
            "inference_time": now - times.began,
            "total_time": now - self.started,
        }
        return {name: round(value * 1000, 3) for name, value in seconds.items()}


def record_of(request: Request) -> Record:
    """The request's record."""
    record: Record = request.scope["state"]["record"]
    return record


class Access:
    """ASGI middleware, the only one of ours.

    Args:
        app: what answers.
        metrics: where requests are counted.
        limiter: of all requests that have work to do (POST and PUT below /v1): they hold a permit from before their
            body is read.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, limiter: Limiter) -> None:
        self._app = app
        self._metrics = metrics
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = Record(_request_id(scope))
        scope.setdefault("state", {})["record"] = record
        header = (REQUEST_ID.encode(), record.request_id.encode())
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], header, *_timing_headers(record)]
            await send(message)

        has_work = scope["method"] in ("POST", "PUT") and scope["path"].startswith("/v1/")
        has_permit = False
        try:
            if has_work:
                self._limiter.take()
                has_permit = True
            await self._app(scope, receive, send_with_id)
        except OverloadedError as error:
            record.error, record.task = error.code, "refused"
            with contextlib.suppress(ClientGoneError, TimeoutError):
                async with asyncio.timeout(_DISCARD_SECONDS):
                    await discard_body(receive)
            await error_answer(error)(scope, receive, send_with_id)
        except ClientGoneError:
            record.error = "client_gone"
            status = CLIENT_GONE
        except Exception:
            log.exception("request failed", id=record.request_id)
            failure = InternalError("Something went wrong in the server; its log says what.")
            record.error = failure.code
            if status:
                raise  # too late for an answer: the server closes the connection
            await error_answer(failure)(scope, receive, send_with_id)
        finally:
            if has_permit:
                self._limiter.give_back(time.perf_counter() - record.started)
            self._write(scope, record, status)

    def _write(self, scope: Scope, record: Record, status: int) -> None:
        seconds = time.perf_counter() - record.started
        if record.task:
            self._metrics.answered(record.model, status, seconds)
        if record.error:
            self._metrics.rejected(record.error)
        if record.task or record.error:
            log.info(
                "request",
                id=record.request_id,
                path=scope["path"][:80],
                model=record.model or None,
                status=status,
                error=record.error or None,
                prompt_tokens=record.prompt_tokens,
                completion_tokens=record.completion_tokens,
                ms=round(seconds * 1000, 2),
            )


def _timing_headers(record: Record) -> list[tuple[bytes, bytes]]:
    """x-queue-time, x-inference-time and x-total-time, of a whole answer."""
    if record.times is None:
        return []
    timings = record.timings(record.times)
    return [(f"x-{name.replace('_', '-')}".encode(), str(value).encode()) for name, value in timings.items()]


def _request_id(scope: Scope) -> str:
    """The client's id, cut, when it is printable ASCII; otherwise a new one."""
    for name, value in scope["headers"]:
        if name == REQUEST_ID.encode():
            given = value.decode("latin-1").strip()[:MAX_REQUEST_ID]
            if _ALLOWED_ID.fullmatch(given):
                return str(given)
    return new_id()


async def answer_error(request: Request, error: Exception) -> JsonAnswer:
    """The answer to an ApiError that a route raised, noted in the record."""
    assert isinstance(error, ApiError)
    record_of(request).error = error.code
    return error_answer(error)


async def discard_body(receive: Receive) -> None:
    """Read a body to its end and throw it away: a client that is still sending when the connection closes sees a reset.

    Raises:
        ClientGoneError: the client left.
    """
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError("The client left while it was sending.")
        if not message.get("more_body", False):
            return
