"""Around every request: its id, its permit, its line in the log, its place in the metrics, and an answer whatever
happens.
"""

import asyncio
import contextlib
import math
import random
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.engine.request import Times
from server.errors import ApiError, ClientGoneError, InternalError, OverloadedError
from server.metrics import Metrics

log = structlog.get_logger()

REQUEST_ID = b"x-request-id"
_TIME_HEADERS = (b"x-queue-time", b"x-inference-time", b"x-total-time")  # as Record.timings has them
MAX_REQUEST_ID = 128
CLIENT_GONE = 499  # nginx's word for it, in the log and the metrics; nobody is sent it
_DISCARD_SECONDS = 5.0  # that a body on its way is given when its request is refused
_MOST_RETRY_AFTER = 60  # seconds
_SHARE_OF_LAST = 0.1  # of the latest request in the running mean
_ALLOWED_ID = re.compile(r"[\x21-\x7e]+")
_random = random.Random()  # seeded by the system


def new_id() -> str:
    """32 hexadecimal digits, 128 random bits."""
    return f"{_random.getrandbits(128):032x}"


def new_seed() -> int:
    """A seed of 53 bits, so that clients whose numbers are floats can send it back unchanged."""
    return _random.getrandbits(53)


def json_of(content: Any) -> bytes:
    """JSON in UTF-8; arrays are lists, float32 with the fewest digits that give it again."""
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


class JsonAnswer(Response):
    """A body written by `json_of`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body."""
        return json_of(content)


@dataclass
class Record:
    """What is known of a request by its end. Routes fill it in."""

    request_id: str  # given by the client or made
    task: str = ""  # what was asked for; empty for paths that do no work
    model: str = ""  # the loaded model's id, or empty
    error: str = ""  # the code of the error it was answered with, or empty
    status: int = 0  # of its answer; 0 while there is none
    prompt_tokens: int = 0  # tokens read
    completion_tokens: int = 0  # tokens made
    started: float = field(default_factory=time.perf_counter)  # its arrival
    times: Times | None = None  # what the engine has noted, once a whole answer is there

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


class PlainRoute(APIRoute):
    """A route whose endpoint reads its request and makes its answer by itself.

    The framework describes it and finds it; what it would do for arguments, dependencies and answers takes as long as
    the endpoint, so it is left out.
    """

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]], **arguments: Any) -> None:
        super().__init__(path, endpoint, **arguments)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await (await endpoint(Request(scope, receive)))(scope, receive, send)

        self.app = app


async def answer_error(request: Request, error: Exception) -> JsonAnswer:
    """The answer to an ApiError, noted in the record."""
    assert isinstance(error, ApiError)
    record_of(request).error = error.code
    return JsonAnswer(error.body, status_code=error.status, headers=error.headers)


class Limiter:
    """How many requests are inside at once; each holds a permit until its answer is sent. Belongs to the event loop.

    A client that is refused gets a Retry-After: as long as the requests inside take to make room for it
    and for those that were refused before it, if all go on as the latest ones did.

    Args:
        name: what is limited, for the message.
        limit: how many permits there are; may be changed.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self.limit = limit
        self._mean_seconds = 0.0  # that a permit is held
        self._num_refused = 0  # and not yet made room for
        self.num_taken = 0  # permits

    def take(self) -> None:
        """Take one; give it back with `give_back`. Raises OverloadedError: all are taken."""
        if self.num_taken >= self.limit:
            self._num_refused += 1
            expected = self._num_refused * self._mean_seconds / self.limit
            seconds = min(max(1, math.ceil(expected)), _MOST_RETRY_AFTER)  # HTTP knows no fractions
            raise OverloadedError(
                f"{self._name} is full: {self.limit} requests are running or waiting. "
                f"Try again in {seconds} s, or raise RNNSERVE_MAX_REQUESTS.",
                headers={"retry-after": str(seconds)},
            )
        self.num_taken += 1

    def give_back(self, seconds: float) -> None:
        """Give one back that was held for so many seconds."""
        self.num_taken -= 1
        self._num_refused = max(0, self._num_refused - 1)
        share = _SHARE_OF_LAST if self._mean_seconds else 1.0
        self._mean_seconds += share * (seconds - self._mean_seconds)


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

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message["headers"], *_headers(record)]
            await send(message)

        has_work = scope["method"] in ("POST", "PUT") and scope["path"].startswith("/v1/")
        try:
            if has_work:
                self._limiter.take()
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                if has_work:
                    self._limiter.give_back(time.perf_counter() - record.started)
        except OverloadedError as error:
            record.task = "refused"
            with contextlib.suppress(ClientDisconnect, TimeoutError):
                async with asyncio.timeout(_DISCARD_SECONDS):
                    await discard_body(Request(scope, receive))
            await (await answer_error(Request(scope), error))(scope, receive, send_with_id)
        except (ClientGoneError, ClientDisconnect):
            record.error, record.status = "client_gone", CLIENT_GONE
        except Exception:
            log.exception("request failed", id=record.request_id)
            answer = await answer_error(Request(scope), InternalError())
            if record.status:
                raise  # too late for an answer: the server closes the connection
            await answer(scope, receive, send_with_id)
        finally:
            self._note(scope["path"], record)

    def _note(self, path: str, record: Record) -> None:
        """Count the request, and write its line in the log."""
        seconds = time.perf_counter() - record.started
        if record.task:
            self._metrics.requests.labels(record.model, str(record.status)).inc()
            if record.model:
                self._metrics.duration.labels(record.model).observe(seconds)
        if record.error:
            self._metrics.rejections.labels(record.error).inc()
        if record.task or record.error:
            log.info(
                "request",
                id=record.request_id,
                path=path[:80],
                model=record.model or None,
                status=record.status,
                error=record.error or None,
                prompt_tokens=record.prompt_tokens,
                completion_tokens=record.completion_tokens,
                ms=round(seconds * 1000, 2),
            )


def header_of(scope: Scope, name: bytes) -> str | None:
    """The value of a request's first header of this name in lower case. Starlette's Headers take six times as long."""
    return next((value.decode("latin-1").strip() for key, value in scope["headers"] if key == name), None)


def _headers(record: Record) -> list[tuple[bytes, bytes]]:
    """x-request-id; of a whole answer also its times."""
    headers = [(REQUEST_ID, record.request_id.encode())]
    if record.times is not None:
        values = record.timings(record.times).values()
        headers += [(name, str(value).encode()) for name, value in zip(_TIME_HEADERS, values, strict=True)]
    return headers


def _request_id(scope: Scope) -> str:
    """The client's id, cut, when it is printable ASCII; otherwise a new one."""
    given = (header_of(scope, REQUEST_ID) or "")[:MAX_REQUEST_ID]
    return given if _ALLOWED_ID.fullmatch(given) else new_id()


async def discard_body(request: Request) -> None:
    """Read a body to its end: a client that is still sending when the connection closes sees a reset."""
    async for _ in request.stream():
        pass
