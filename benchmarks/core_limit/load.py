"""A closed loop of clients, and the core-seconds that each request costs the server and the client."""

import dataclasses
import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from benchmarks.core_limit.bare import cheapest
from benchmarks.core_limit.limit import Round
from benchmarks.core_limit.noop import PATH, NoopServer
from benchmarks.serving.client import connector
from benchmarks.serving.loops import closed_loop, run
from benchmarks.serving.record import Record, summary
from benchmarks.serving.request import Count, NextRequest, Request
from benchmarks.serving.server import Server

WARM_UP = 1.0


class Load(NamedTuple):
    """What came of a load.

    Attributes:
        records: of requests that ended in the measured time.
        served: requests a second.
        server: core-seconds of the server, a request.
        client: core-seconds of the client, a request.
        latencies: milliseconds by name.
    """

    records: list[Record]
    served: float
    server: float
    client: float
    latencies: dict[str, float]


def load(server: Server | NoopServer, num_clients: int, seconds: float, next_request: NextRequest) -> Load:
    """Send requests for so long, after a warm-up.

    Raises:
        RuntimeError: a request failed.
    """
    num_sent = 0

    def counted(number: int) -> Request:
        nonlocal num_sent
        num_sent += 1
        return next_request(number)

    server_cpu, client_cpu = server.cpu_seconds(), time.process_time()
    records = run(closed_loop(connector(server.port), num_clients, seconds, counted, WARM_UP))
    server_cpu, client_cpu = server.cpu_seconds() - server_cpu, time.process_time() - client_cpu
    found = summary(records, seconds)
    if found["failed"]:
        raise RuntimeError(f"{found['failed']} requests failed: {found['statuses']}")
    names = {"answer p50": "p50_e2el_ms", "answer p99": "p99_e2el_ms"}
    if any(record.event_times for record in records):
        names |= {"first token p50": "p50_ttft_ms", "first token p99": "p99_ttft_ms"}
        names |= {"time per token p99": "p99_tpot_ms"}
    return Load(
        records,
        found["request_throughput"],
        server_cpu / num_sent,
        client_cpu / num_sent,
        {name: found[key] for name, key in names.items()},
    )


class Measured(NamedTuple):
    """One round of one workload, before it is known which bare way is cheapest.

    Attributes:
        bare: core-seconds of the runtime for a request, by way.
        served: the server's load.
        h: core-seconds of the endpoint that does nothing.
    """

    bare: dict[str, float]
    served: Load
    h: float

    def as_round(self, m: float) -> Round:
        """With the runtime's core-seconds for a request."""
        load = self.served
        return Round(m=m, h=self.h, c=load.client, served=load.served, server=load.server, latencies=load.latencies)


def rounds_from(measured: Sequence[Measured]) -> list[Round]:
    """The rounds of a workload, the bare way being the one that is cheapest over all of them."""
    way = cheapest([each.bare for each in measured])
    return [each.as_round(each.bare[way]) for each in measured]


def noop_seconds(noop: NoopServer, num_clients: int, seconds: float, next_request: NextRequest) -> float:
    """Core-seconds a request of an endpoint that does nothing, asked with the same bodies."""

    def same_body(number: int) -> Request:
        return dataclasses.replace(next_request(number), path=PATH, count=_no_tokens)

    return load(noop, num_clients, seconds, same_body).server


def events_of(records: list[Record]) -> int:
    """The median number of events of a stream, at least 1; 0 without streams."""
    counts = [len(record.event_times) for record in records if record.event_times]
    return round(median(counts)) if counts else 0


def _no_tokens(data: bytes) -> Count:  # noqa: ARG001 - the signature of a request's `count`
    return Count(0)
