"""What every request of a task goes through: a permit, its work in the engine, and an end to that work in any case."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import Request

from server.engine.engine import EngineRequest
from server.errors import ApiError, ClientGoneError
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
        record: notes the error of a request that fails.
        prepare: reads the texts and gives what the engine works on; called with the permit taken.

    Raises:
        ApiError: no permit is free, the texts cannot be read, or the engine takes no requests.
    """
    served.permits.take()
    try:
        with service.request():
            work = await prepare()
            served.metrics.prompt_tokens.inc(record.prompt_tokens)
            served.engine.submit(work)

            def on_gone() -> None:
                served.engine.cancel(work)
                work.mailbox.put(ClientGoneError("The client left."))

            try:
                async with watched(request.receive, on_gone):
                    yield work
            except BaseException as error:  # also a client that leaves and a stream that is closed
                served.engine.cancel(work)
                if isinstance(error, ApiError):
                    record.error = error.code
                raise
    finally:
        served.permits.give_back()
