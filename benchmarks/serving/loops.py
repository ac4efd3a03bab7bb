"""Who sends when: a closed loop (each client waits for its answer), an open loop (nobody waits), everything at once."""

import asyncio
from collections.abc import Coroutine
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import uvloop

from benchmarks.serving.client import Client, Connect
from benchmarks.serving.record import Record
from benchmarks.serving.request import NextRequest, Request, send

Result = TypeVar("Result")


def run(load: Coroutine[Any, Any, Result]) -> Result:
    """Run a load on a fast event loop; what it returns."""
    return uvloop.run(load)


async def closed_loop(
    connect: Connect, num_clients: int, seconds: float, next_request: NextRequest, warm_up: float = 0.0
) -> list[Record]:
    """Clients that each send their next request when the last is answered.

    Args:
        connect: opens a connection; each client has its own.
        num_clients: how many.
        seconds: how long is measured.
        next_request: makes the requests; called in the order of sending.
        warm_up: seconds of the same before.

    Returns:
        The requests that ended in the `seconds` after the warm-up, in the order of their ends: tokens of these, divided
        by `seconds`, are the rate of a loop that runs without end, once the warm-up is longer than a request takes: all
        clients begin at once. Requests that are out at the end are waited for, so that the next load finds an idle
        server.

    Raises:
        OSError: nobody listens.
    """
    number = 0
    records: list[Record] = []
    clients = [await connect() for _ in range(num_clients)]
    started = perf_counter() + warm_up
    deadline = started + seconds

    async def client_loop(client: Client) -> None:
        nonlocal number
        while (now := perf_counter()) < deadline:
            if not client.is_usable:
                client = await connect()
            request = next_request(number)
            number += 1
            record = await send(client, request, now)
            if started <= record.end < deadline:
                records.append(record)
        client.close()

    await asyncio.gather(*(client_loop(client) for client in clients))
    return records


async def open_loop(
    connect: Connect, rate: float, seconds: float, seed: int, next_request: NextRequest
) -> list[Record]:
    """Requests that come as a Poisson process, whether or not earlier ones are answered.

    Args:
        connect: opens a connection; as many as are needed.
        rate: requests a second.
        seconds: how long requests come.
        seed: of the times between them, which are drawn ahead.
        next_request: makes the requests, before the first is sent.

    Returns:
        All requests in the order of sending, after the last answer.

    Raises:
        OSError: nobody listens.
    """
    arrivals = poisson_arrivals(rate, seconds, seed)
    return await _send_at(connect, arrivals, [next_request(number) for number in range(len(arrivals))])


async def all_at_once(connect: Connect, num_requests: int, next_request: NextRequest) -> list[Record]:
    """As many requests at the same moment, each over its own connection; all of them after the last answer.

    Raises:
        OSError: nobody listens.
    """
    requests = [next_request(number) for number in range(num_requests)]
    return await _send_at(connect, np.zeros(num_requests), requests)


def poisson_arrivals(rate: float, seconds: float, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Times of arrival, float64 [n], in seconds from the start, ascending, all below `seconds`."""
    generator = np.random.default_rng(seed)
    arrivals = np.zeros(0)
    while not len(arrivals) or arrivals[-1] < seconds:
        gaps = generator.exponential(1 / rate, max(16, int(rate * seconds * 1.1)))
        arrivals = np.concatenate([arrivals, (arrivals[-1] if len(arrivals) else 0.0) + np.cumsum(gaps)])
    return arrivals[arrivals < seconds]


async def _send_at(
    connect: Connect, arrivals: np.ndarray[Any, np.dtype[np.float64]], requests: list[Request]
) -> list[Record]:
    """Send each request at its time, over a connection that is free then."""
    idle: list[Client] = []

    async def one(request: Request, due: float) -> Record:
        """Send it over a connection that is idle, or a new one; an error of connecting is in the record."""
        while idle:
            client = idle.pop()
            if client.is_usable:
                break
        else:
            try:
                client = await connect()
            except OSError as error:
                return Record(due, perf_counter(), end=perf_counter(), error=f"{type(error).__name__}: {error}")
        record = await send(client, request, due)
        if client.is_usable:
            idle.append(client)
        else:
            client.close()
        return record

    idle.append(await connect())
    started = perf_counter()
    tasks: list[asyncio.Task[Record]] = []
    for arrival, request in zip(arrivals.tolist(), requests, strict=True):
        due = started + arrival
        while (wait := due - perf_counter()) > 0:  # the loop's clock has milliseconds, and may wake a bit early
            await asyncio.sleep(wait)
        tasks.append(asyncio.create_task(one(request, due)))
    records = await asyncio.gather(*tasks)
    for client in idle:
        client.close()
    return list(records)
