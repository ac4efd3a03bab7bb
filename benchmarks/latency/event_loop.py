"""How late the server's event loop is while two models are busy: 64 streams of text and 32 translators at once.

The server runs with a task beside it that sleeps for 5 ms again and again and keeps how late it wakes.

    RNNSERVE_DATA=FOLDER python -m benchmarks event-loop
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI
from rich.table import Table

from benchmarks.core_limit.sources import sources_of
from benchmarks.latency.mixed import TRANSLATOR
from benchmarks.report import Report
from benchmarks.serving.client import Connect, connector
from benchmarks.serving.loops import closed_loop, run
from benchmarks.serving.record import Record, summary
from benchmarks.serving.request import Count, NextRequest, Request
from benchmarks.serving.server import Server
from benchmarks.serving.w1 import MODEL, NUM_CLIENTS, STORE, w1
from benchmarks.targets import Target, number
from models.bundle import Bundle
from models.store import Store

SET = "int8"
ROUNDS, SECONDS, WARM_UP = 5, 5.0, 1.0
NUM_TRANSLATORS = 32
SLEEP = 0.005
MOST_MS = 10.0


def main(num_rounds: int = ROUNDS) -> Report:
    """Measure."""
    generator, translator = (Bundle(Store(STORE).resolve(name)) for name in (MODEL, TRANSLATOR))
    texts = sources_of(translator, 600).texts

    def translation(number_of_request: int) -> Request:
        return Request("/v1/translate", orjson.dumps({"text": texts[number_of_request % len(texts)]}), _no_tokens)

    idle, busy = [], []
    settings = {"RNNSERVE_SET": SET, "RNNSERVE_MAX_REQUESTS": str(2 * NUM_CLIENTS)}
    with Server(STORE, [MODEL, TRANSLATOR], settings, module=__name__) as server:
        for number_of_round in range(num_rounds):
            server.get("/lags")
            run(asyncio.sleep(1.0))
            idle.append(_lags(server))
            both = run(_both(connector(server.port), w1(generator, number_of_round).streamed_request, translation))
            failed = sum(summary(records)["failed"] for records in both)
            if failed:
                raise RuntimeError(f"{failed} requests failed")
            busy.append(_lags(server))
    p99 = {name: [float(np.percentile(lags, 99)) for lags in each] for name, each in (("idle", idle), ("busy", busy))}
    target = Target("event loop late by, p99, ms", "<=", MOST_MS, median(p99["busy"]))
    title = (
        f"the event loop under {NUM_CLIENTS} streams and {NUM_TRANSLATORS} translators; median of {num_rounds} rounds"
    )
    table = Table("", "p50 ms", "p99 ms", "most ms", title=title, title_justify="left")
    for name, each in (("idle", idle), ("busy", busy)):
        figures = (median(float(np.percentile(lags, q)) for lags in each) for q in (50, 99, 100))
        table.add_row(name, *map(number, figures))
    return Report("event-loop", [table], {"p99_ms": p99}, [target])


def _lags(server: Server) -> list[float]:
    """Milliseconds, since the last time."""
    lags: list[float] = orjson.loads(server.get("/lags"))
    return lags


async def _both(connect: Connect, streamed: NextRequest, translation: NextRequest) -> tuple[list[Record], list[Record]]:
    return await asyncio.gather(
        closed_loop(connect, NUM_CLIENTS, SECONDS, streamed, WARM_UP),
        closed_loop(connect, NUM_TRANSLATORS, SECONDS, translation, WARM_UP),
    )


def _no_tokens(answer: bytes) -> Count:
    return Count(orjson.loads(answer)["usage"]["target_tokens"])


def with_lags(app: FastAPI) -> FastAPI:
    """An app with `GET /lags`, which gives how late its event loop was, in milliseconds, since it was asked last."""
    lags: list[float] = []
    lifespan = app.router.lifespan_context

    async def watch() -> None:
        while True:
            due = perf_counter() + SLEEP
            await asyncio.sleep(SLEEP)
            lags.append((perf_counter() - due) * 1e3)

    @contextlib.asynccontextmanager
    async def watched(app: FastAPI) -> AsyncIterator[Any]:
        async with lifespan(app) as state:
            task = asyncio.create_task(watch())
            yield state
            task.cancel()

    @app.get("/lags")
    async def taken() -> list[float]:
        found = lags.copy()
        lags.clear()
        return found

    app.router.lifespan_context = watched
    return app


if __name__ == "__main__":
    from unittest import mock

    from server.__main__ import main as serve
    from server.app import create_app

    with mock.patch("server.__main__.create_app", lambda *arguments: with_lags(create_app(*arguments))):
        sys.exit(serve(sys.argv[1:]))
