"""Around every request: its id, its permit, its line in the log, its place in the metrics, and an answer whatever
happens.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
import structlog
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.engine.request import Times
from server.errors import (
    ApiError,
    BadRequestError,
    ClientGoneError,
    ForbiddenError,
    InternalError,
    OverloadedError,
    UnauthorizedError,
    shown,
)
from server.http.hosts import AllowedHosts
from server.http.limits import HeldBytes, Limiter
from server.metrics import Metrics

log = structlog.get_logger()

INFERENCE = "/v2"  # paths of the Open Inference Protocol
HUGGING_FACE = "/models/"  # paths of Hugging Face's task JSON; it is posted to "/", too
# Paths below which a key is asked for, and work has permits.
WITH_KEYS = (
    "/v1/",
    f"{INFERENCE}/models/",
    f"{INFERENCE}/repository/",
    HUGGING_FACE,
    "/predict",
    "/info",
    "/tokenize",
    "/detokenize",
    "/translate",
    "/detect",
)
KEY_IN_BODY = ("/translate", "/detect")  # paths whose clients send the key in the body, where their routes check it
REQUEST_ID = b"x-request-id"
TIME_HEADERS = ("x-queue-time", "x-inference-time", "x-total-time")  # as Record.timings has them
MAX_REQUEST_ID = 128
MAX_ADDRESS = 64
CLIENT_GONE = 499  # nginx's word for it, in the log and the metrics; nobody is sent it
_DISCARD_SECONDS = 5.0  # that a body on its way is given when its request is refused
_ALLOWED_ID = re.compile(r"[\x21-\x7e]+")
_random = random.Random()  # seeded by the system

# An error as the clients of a dialect read it: status, body, headers.
ErrorShape = Callable[[ApiError], tuple[int, Any, dict[str, str]]]


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
    client: str = ""  # who shares permits: see client_of
    task: str = ""  # what was asked for; empty for paths that do no work
    model: str = ""  # the loaded model's id, or empty
    error: str = ""  # the code of the error it was answered with, or empty
    status: int = 0  # of its answer; 0 while there is none
    held_bytes: int = 0  # of its body
    held_tokens: int = 0  # that it may need
    most_seconds: float | None = None  # that it may take, where its body says so
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
    """The answer to an ApiError, noted in the record; in the shape of the path's dialect."""
    assert isinstance(error, ApiError)
    record_of(request).error = error.code
    shape = shape_of(request.scope["path"], request.app.state.error_shapes)
    status, body, headers = (error.status, error.body, error.headers) if shape is None else shape(error)
    return JsonAnswer(body, status_code=status, headers=headers)


def shape_of(path: str, shapes: Mapping[str, ErrorShape]) -> ErrorShape | None:
    """The shape of a path, or of the folder above it; None for our own."""
    found = shapes.get(path)
    if found is not None:
        return found
    above = (start for start in shapes if len(start) > 1 and start.endswith("/") and path.startswith(start))
    return shapes.get(next(above, ""))


def needs_key(path: str, method: str) -> bool:
    """Whether a key is asked for at a path, where the server has some; its POST and PUT are work, and have permits."""
    return path.startswith(WITH_KEYS) or (path == "/" and method == "POST")


class Access:
    """ASGI middleware, the only one of ours.

    Args:
        app: what answers.
        metrics: where requests are counted.
        check_room: refuses a request of this path that no model has a permit for, by an OverloadedError.
        limiter: of all requests that have work to do (POST and PUT below /v1 and /v2/models): they hold a permit from
            before their body is read.
        bodies: of these requests.
        keys: where there are any, requests below /v1 and /v2/models need one of them.
        origins: of web pages that may ask beside the server's own; "*": all.
        refusal_seconds: that an answer of 429 is held back.
        hosts: by which names the server may be asked.
        root_path: that a proxy may have left at the beginning of paths.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        check_room: Callable[[str, Record], None],
        limiter: Limiter,
        bodies: HeldBytes,
        keys: Sequence[str],
        origins: Sequence[str],
        refusal_seconds: float,
        hosts: AllowedHosts,
        root_path: str,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._check_room = check_room
        self._limiter = limiter
        self._bodies = bodies
        self._keys = [key.encode() for key in keys]
        self._origins = origins
        self._refusal_seconds = refusal_seconds
        self._hosts = hosts
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = self._routed(scope)
        record = Record(_request_id(scope))
        scope.setdefault("state", {})["record"] = record

        is_asking = expects_continue(scope)  # whether to send its body; reading it says yes

        async def receive_asked() -> Message:
            nonlocal is_asking
            is_asking = False
            return await receive()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                if record.status == OverloadedError.status:
                    await asyncio.sleep(self._refusal_seconds)
                message["headers"] = [*message["headers"], *_headers(record)]
                if is_asking:  # the body may come or not: where the next request begins is unknown
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        is_api = needs_key(scope["path"], scope["method"])
        has_work = is_api and scope["method"] in ("POST", "PUT")
        try:
            self._check_host(scope)
            self._check_origin(scope)
            is_open = scope["path"] in KEY_IN_BODY and header_of(scope, b"authorization") is None
            record.client = client_of(scope, self._keys if is_api and not is_open else ())
            if has_work:
                self._check_room(scope["path"], record)
                self._limiter.take(record)
            try:
                await self._app(scope, receive_asked, send_with_id)
            finally:
                if has_work:
                    self._bodies.give_back(record)
                    self._limiter.give_back(record)
        except (BadRequestError, ForbiddenError, OverloadedError, UnauthorizedError) as error:
            record.task = "refused"
            with contextlib.suppress(ClientDisconnect, TimeoutError):
                async with asyncio.timeout(_DISCARD_SECONDS):
                    if not is_asking:
                        await discard_body(receive)
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
            self._note(str(getattr(scope.get("route"), "path", scope["path"])), record)  # ids of sessions are not shown

    def _routed(self, scope: Scope) -> Scope:
        """A request as routes know it: HEAD is GET, whose head alone uvicorn sends; the path is without what a proxy
        has left before it, and without slashes at its end.
        """
        path: str = scope["path"]
        if self._root_path and path.startswith(f"{self._root_path}/"):
            path = path.removeprefix(self._root_path)
        if path.endswith("/"):
            path = path.rstrip("/") or "/"
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        if (path, method) == (scope["path"], scope["method"]):
            return scope
        return {**scope, "path": path, "method": method}

    def _check_host(self, scope: Scope) -> None:
        """Refuse a request that asks for a server of another name, or for none.

        Raises:
            BadRequestError: it has no Host header, or several.
            ForbiddenError: its Host is none of ours.
        """
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1:
            if not hosts and scope["http_version"] == "1.0":
                return
            message = f"A request of HTTP/1.1 has one Host header, and this one has {len(hosts)}. Send one."
            raise BadRequestError(message, code="host_invalid")
        host = hosts[0].decode("latin-1").strip()
        if not self._hosts.is_allowed(host):
            raise ForbiddenError(
                f"This server is not asked by the name {shown(host)} (header Host). Ask it by its address, or add the "
                "name to RNNSERVE_ALLOWED_HOSTS.",
                code="host_forbidden",
            )

    def _check_origin(self, scope: Scope) -> None:
        """Refuse a web page of another origin: a browser sends what it asks, whoever may read the answer.

        Raises:
            ForbiddenError: it is one.
        """
        origin = header_of(scope, b"origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return
        if origin.partition("://")[2] != header_of(scope, b"host"):
            message = f"Pages of {shown(origin)} may not ask this server. Add the origin to RNNSERVE_CORS_ORIGINS."
            raise ForbiddenError(message, code="origin_forbidden")

    def _note(self, path: str, record: Record) -> None:
        """Count the request, and write its line in the log."""
        seconds = time.perf_counter() - record.started
        if record.task:
            self._metrics.requests.labels(record.model, str(record.status)).inc()
            self._metrics.request_seconds.labels(record.model, str(record.status)).inc(seconds)
            if record.model and record.status != OverloadedError.status:
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


def client_of(scope: Scope, keys: Sequence[bytes]) -> str:
    """Who a request is from, as far as permits are shared: its key where keys are asked for, else its address.

    Raises:
        UnauthorizedError: keys are asked for, and it has none of them.
    """
    if keys:
        given = (header_of(scope, b"authorization") or "").encode()
        number = next((i for i, key in enumerate(keys) if hmac.compare_digest(given, b"Bearer " + key)), None)
        if number is None:
            message = "This server asks for an API key. Send it as the header authorization: Bearer KEY."
            raise UnauthorizedError(message, headers={"www-authenticate": "Bearer"})
        return f"key {number}"
    client: tuple[str, int] | None = scope.get("client")
    return network_of(client[0]) if client else ""


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """What stands for all addresses that one client may have: itself, but of IPv6 its network of 64 bits."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:  # a proxy that is trusted says what it likes
        return address[:MAX_ADDRESS]
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found), 64), strict=False))


def header_of(scope: Scope, name: bytes) -> str | None:
    """The value of a request's first header of this name in lower case. Starlette's Headers take six times as long."""
    return next((value.decode("latin-1").strip() for key, value in scope["headers"] if key == name), None)


def expects_continue(scope: Scope) -> bool:
    """Whether the client waits for 100 Continue before it sends the body."""
    return (header_of(scope, b"expect") or "").lower() == "100-continue" and scope["http_version"] != "1.0"


def _headers(record: Record) -> list[tuple[bytes, bytes]]:
    """x-request-id; of a whole answer also its times."""
    headers = [(REQUEST_ID, record.request_id.encode())]
    if record.times is not None:
        values = record.timings(record.times).values()
        headers += [(name.encode(), str(value).encode()) for name, value in zip(TIME_HEADERS, values, strict=True)]
    return headers


def _request_id(scope: Scope) -> str:
    """The client's id, cut, when it is printable ASCII; otherwise a new one."""
    given = (header_of(scope, REQUEST_ID) or "")[:MAX_REQUEST_ID]
    return given if _ALLOWED_ID.fullmatch(given) else new_id()


async def discard_body(receive: Receive) -> None:
    """Read a body to its end: a client that is still sending when the connection closes sees a reset.

    Raises:
        ClientDisconnect: the client has left.
    """
    while (message := await receive()).get("more_body", False):
        pass
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
