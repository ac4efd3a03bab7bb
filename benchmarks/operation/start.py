"""A server with the four shipped models: seconds until it is ready, and memory after every graph has run.

The files are in the page cache: one start before the others is not counted. For the memory, 32 requests of each task
are sent at once, and classify is also asked for texts of 256 tokens; then mixed requests of all tasks for a while.

    python -m benchmarks start
    python -m benchmarks start --seconds 600
"""

import asyncio
from functools import partial
from statistics import median
from typing import Any

import orjson
from rich.table import Table

from benchmarks.operation.overload_load import rss_of
from benchmarks.report import Report
from benchmarks.serving.client import Connect, connector
from benchmarks.serving.loops import all_at_once, closed_loop, run
from benchmarks.serving.record import Record
from benchmarks.serving.request import Count, Request
from benchmarks.serving.server import Server
from benchmarks.serving.w1 import STORE
from benchmarks.targets import Target, number

MODELS = ("shakespeare-char", "translate-en-zh", "sentiment-en", "sentiment-zh")
NUM_STARTS, MOST_SECONDS = 5, 2.0
NUM_ROWS, NUM_TOKENS = 32, 256
MOST_MIB = 320
SECONDS = 60.0  # of mixed requests


def main(seconds: float = SECONDS) -> Report:
    """Measure.

    Args:
        seconds: of mixed requests, before memory is read the second time.
    """
    starts = seconds_to_ready(NUM_STARTS)
    with Server(STORE, MODELS) as server:
        memory = {"ready": _mib(server)}
        connect = connector(server.port)
        for path, body in _first_requests():
            _check(run(all_at_once(connect, NUM_ROWS, partial(_same, Request(path, body, _any)))))
        memory["after every graph at 32 rows, classify at 256 tokens"] = _mib(server)
        _check(run(_mixed(connect, seconds)))
        memory[f"after {seconds:g} s of all tasks"] = _mib(server)
    table = Table("", "", title=f"{', '.join(MODELS)}; files in the page cache", title_justify="left")
    table.add_row("seconds to ready, fastest, median, slowest", ", ".join(f"{it:.2f}" for it in _range(starts)))
    for when, mib in memory.items():
        table.add_row(f"resident memory {when}, MiB", number(mib))
    targets = [
        Target("ready with four models, seconds, median", "<=", MOST_SECONDS, median(starts)),
        Target("resident memory at the most, MiB", "<=", MOST_MIB, max(memory.values())),
    ]
    return Report("start", [table], {"seconds": starts, "mib": memory}, targets)


def seconds_to_ready(count: int) -> list[float]:
    """Seconds to ready of so many starts, after one that is not counted."""
    seconds = []
    for _ in range(1 + count):
        with Server(STORE, MODELS) as server:
            seconds.append(server.seconds_to_ready)
    return seconds[1:]


def _first_requests() -> list[tuple[str, bytes]]:
    """Requests that together run every graph."""
    generate = {"prompt": "To be, or not to be" * 4, "max_tokens": 64}
    text = "the film is good " * (NUM_TOKENS // 4)
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/v1/generate", generate),
        ("/v1/generate", generate | {"top_k": 5}),
        ("/v1/generate", generate | {"frequency_penalty": 0.5}),
        ("/v1/translate", {"text": "Where is the nearest station, please?", "beam_size": 1}),
        ("/v1/translate", {"text": "Where is the nearest station, please?", "beam_size": 1, "temperature": 0.7}),
        ("/v1/translate", {"text": "Where is the nearest station, please?", "beam_size": 4}),
        ("/v1/sentiment", {"text": text, "model": "sentiment-en"}),
        ("/v1/sentiment", {"text": "这家酒店很好" * (NUM_TOKENS // 6), "model": "sentiment-zh"}),
    ]
    return [(path, orjson.dumps(body)) for path, body in bodies]


async def _mixed(connect: Connect, seconds: float) -> list[Record]:
    requests = _first_requests()
    return await closed_loop(connect, NUM_ROWS, seconds, lambda it: Request(*requests[it % len(requests)], _any))


def _same(request: Request, number_of_request: int) -> Request:  # noqa: ARG001 - the signature of NextRequest
    return request


def _any(answer: bytes) -> Count:  # noqa: ARG001 - the signature of a request's `count`
    return Count(0)


def _check(records: list[Record]) -> None:
    """Raises RuntimeError when a request failed."""
    errors = [record.error for record in records if record.error]
    if errors:
        raise RuntimeError(f"{len(errors)} of {len(records)} requests failed: {errors[0]}")


def _mib(server: Server) -> float:
    asyncio.run(asyncio.sleep(0.5))
    return rss_of(server.pid) / 2**20


def _range(values: list[float]) -> tuple[float, float, float]:
    return min(values), median(values), max(values)
