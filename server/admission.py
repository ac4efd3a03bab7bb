"""What every request of a task goes through: a permit, its work in the engine, and an end to that work in any case."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import Request

from server.deadline import HEADER, timeout_seconds
from server.engine.engine import EngineRequest
from server.errors import ApiError, ClientGoneError, DeadlineError
from server.served_model import ServedModel
from server.service import Service
from server.transport.access import Record
from server.transport.disconnect import watched

Work = TypeVar("Work", bound=EngineRequest)


@asynccontextmanager
async def working(
    service: Service, served: ServedModel, request: Request, record: Record, prepare: Callable[[], Awaitable[Work]]
) -> AsyncIterator[Work]:
    """Hold a permit while the engine works on a request; leaving the block ends its work.

    Args:
        service: counts the request, so that draining waits for it.
        served: the model.
        request: whose client may leave: then its mailbox raises ClientGoneError and the engine drops it.
        record: notes the error of a request that fails, and the times of one that does not.
        prepare: reads the texts and gives what the engine works on; called with the permit taken.

    Raises:
        ApiError: no permit is free, the texts cannot be read, the engine takes no requests, or the request's time is
            over.
    """
    seconds = timeout_seconds(request.scope["headers"], service.settings.request_timeout_ms)
    served.permits.take()
    try:
        with service.request():
            work = await prepare()
            served.metrics.prompt_tokens.inc(record.prompt_tokens)
            late = DeadlineError(
                f"The request was not done after {round(seconds * 1000)} ms. Ask for less, try again later, or send a "
                f"larger {HEADER}."
            )
            remaining = record.started + seconds - time.perf_counter()
            if remaining <= 0:
                raise late
            served.engine.submit(work)

            def end(error: ApiError | ClientGoneError) -> None:
                served.engine.cancel(work)
                work.outputs.put(error)

            timer = asyncio.get_running_loop().call_later(remaining, end, late)
            try:
                async with watched(request.receive, lambda: end(ClientGoneError("The client left."))):
                    yield work
            except BaseException as error:  # also a client that leaves and a stream that is closed
                served.engine.cancel(work)
                served.metrics.cancelled(error)
                if isinstance(error, ApiError):
                    record.error = error.code
                raise
            finally:
                timer.cancel()
            record.times = work.times
            served.metrics.ended(record.started, work.times, record.completion_tokens)
    finally:
        served.permits.give_back(time.perf_counter() - record.started)
