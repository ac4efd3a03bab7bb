"""What every request of a task goes through: a permit, its work in the engine, and an end to that work in any case."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request

from server.engine.request import EngineRequest
from server.errors import ApiError, ClientGoneError, DeadlineError
from server.http.access import record_of
from server.http.body import HEADER, timeout_seconds
from server.http.stream import watched

if TYPE_CHECKING:
    from server.endpoint import Endpoint
    from server.service import Service

Work = TypeVar("Work", bound=EngineRequest[Any, Any])


@asynccontextmanager
async def working(
    service: "Service", endpoint: "Endpoint", request: Request, prepare: Callable[[], Awaitable[Work]]
) -> AsyncIterator[Work]:
    """Hold a permit of the model while its engine works on a request; leaving the block ends its work.

    Args:
        service: counts the request, so that draining waits for it.
        endpoint: the model.
        request: whose client may leave: then its output queue raises ClientGoneError and the engine drops it.
        prepare: reads the texts and gives what the engine works on; called with the permit taken.

    Raises:
        ApiError: no permit is free, the texts cannot be read, the engine takes no requests, or the request's time is
            over.
    """
    record = record_of(request)
    seconds = timeout_seconds(request.scope["headers"], service.settings.request_timeout_ms)
    endpoint.limiter.take()
    try:
        with service.request():
            work = await prepare()
            endpoint.metrics.prompt_tokens.inc(record.prompt_tokens)
            late = DeadlineError(
                f"The request was not done after {round(seconds * 1000)} ms. Ask for less, try again later, or send a "
                f"larger {HEADER}."
            )
            remaining = record.started + seconds - time.perf_counter()
            if remaining <= 0:
                raise late
            endpoint.engine.submit(work)

            def end(error: ApiError | ClientGoneError) -> None:
                endpoint.engine.cancel(work)  # at once, even while an event is being sent
                work.outputs.put(error)

            timer = asyncio.get_running_loop().call_later(remaining, end, late)
            try:
                async with watched(request.receive, lambda: end(ClientGoneError("The client left."))):
                    yield work
            except BaseException as error:  # also a client that leaves and a stream that is closed
                endpoint.engine.cancel(work)
                endpoint.metrics.cancelled(error)
                if isinstance(error, ApiError):
                    record.error = error.code
                raise
            finally:
                timer.cancel()
                work.items.clear()  # they refer to it: it is freed at once, not by the garbage collector
            record.times = work.times
            endpoint.metrics.ended(record.started, work.times, record.completion_tokens)
    finally:
        endpoint.limiter.give_back(time.perf_counter() - record.started)
