"""What every request of a task goes through: its body, a permit, its work in the engine, and an end to that work in any
case.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.requests import Request

from server.endpoint import Endpoint
from server.engine.request import EngineRequest
from server.errors import ApiError, ClientGoneError, DeadlineError
from server.http.access import record_of
from server.http.body import HEADER, Asked, read_body, request_from, timeout_seconds
from server.service import Service

Work = TypeVar("Work", bound=EngineRequest[Any, Any])


async def asked_of(service: Service, request: Request, kind: type[Asked], task: str, no_body: bytes = b"") -> Asked:
    """A request's body as an object of the class `kind`; `no_body` is what an empty one means.

    The task is noted in the request's record. Raises as `read_body` and `request_from`, and UnavailableError where the
    service is not ready once the body is here.
    """
    record_of(request).task = task
    body = await read_body(request, service.settings)
    service.check_ready()
    return request_from(kind, body or no_body)


@asynccontextmanager
async def working(
    service: Service, endpoint: Endpoint, request: Request, prepare: Callable[[], Awaitable[Work]]
) -> AsyncIterator[Work]:
    """Hold a permit of the model while its engine works on a request; leaving the block ends its work.

    Args:
        service: says how long a request may take.
        endpoint: the model, which is noted in the request's record.
        request: its body has been read. Its client may leave: then the output queue raises ClientGoneError, and the
            engine drops the request.
        prepare: reads the texts and gives what the engine works on; called with the permit taken.

    Raises:
        ApiError: no permit is free, the texts cannot be read, the engine takes no requests, or the request's time is
            over.
    """
    record = record_of(request)
    record.model = endpoint.id
    seconds = timeout_seconds(request, service.settings.request_timeout_ms)
    endpoint.limiter.take()
    work: Work | None = None
    try:
        work = await prepare()
        endpoint.metrics.prompt_tokens.inc(record.prompt_tokens)
        remaining = record.started + seconds - time.perf_counter()
        if remaining <= 0:
            raise _late(seconds)
        endpoint.engine.submit(work)

        def end(error: ApiError | ClientGoneError) -> None:
            endpoint.engine.cancel(work)  # at once, even while an event is being sent
            work.outputs.put(error)

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            end(ClientGoneError("The client left."))

        timer = asyncio.get_running_loop().call_later(remaining, lambda: end(_late(seconds)))
        watching = asyncio.create_task(watch())
        try:
            yield work
        except BaseException as error:  # also a client that leaves and a stream that is closed
            endpoint.engine.cancel(work)
            endpoint.metrics.cancelled(error)
            if isinstance(error, ApiError):
                record.error = error.code
            raise
        finally:
            timer.cancel()
            watching.cancel()
        record.times = work.times
        endpoint.metrics.ended(record.started, work.times, record.completion_tokens)
    finally:
        endpoint.limiter.give_back(time.perf_counter() - record.started)
        if work is not None:
            work.items.clear()  # they refer to it: it is freed at once, not by the garbage collector


def _late(seconds: float) -> DeadlineError:
    message = f"The request was not done after {round(seconds * 1000)} ms."
    return DeadlineError(f"{message} Ask for less, try again later, or send a larger {HEADER}.")
