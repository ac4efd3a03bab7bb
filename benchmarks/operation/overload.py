"""Four times as many requests as the server can answer, for ten minutes, from clients that also misbehave.

First 64 clients in a closed loop say how many requests a second the server answers and how long they take. Then four
times as many come as a Poisson process, whoever waits; some leave at a random moment, some give a deadline, some send
what is no request (benchmarks.operation.overload_requests). Client and server share the machine's cores.

Must hold: the memory of the last minute is at most 1.05 times that of the second; well-formed requests are answered
200, or 429 when all permits are out, or 504 when they gave a deadline, malformed ones with their own 4xx; of those that
are admitted, p99 is at most 1.5 times that of the 64 clients; nothing hangs, and the server is well afterwards.

    python -m benchmarks overload
    python -m benchmarks overload --seconds 60        shorter
"""

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.table import Table

from benchmarks.operation.overload_load import Outcomes, Overload
from benchmarks.operation.overload_picture import draw
from benchmarks.operation.overload_requests import PATH, STREAMED, asks, w1
from benchmarks.report import Report
from benchmarks.serving.client import connector
from benchmarks.serving.loops import closed_loop, run
from benchmarks.serving.record import summary
from benchmarks.serving.request import Count, Request
from benchmarks.serving.server import Server
from benchmarks.targets import Target
from models.bundle import Bundle
from models.store import Store
from server.settings import Settings

STORE, MODEL, SET = Path("artifacts"), "shakespeare-char", "int8"
SECONDS = 600.0
NUM_CLIENTS, TIMES_OVER = 64, 4
WARM_UP, CLOSED_SECONDS = 2.0, 20.0  # of the closed loop
PARTS = 10  # of the load, each with its own p99; of ten minutes a minute
MOST_GROWTH, MOST_SLOWER = 1.05, 1.5
TIMEOUT = 30.0  # seconds that the server may take to be idle again


def main(seconds: float = SECONDS) -> Report:
    """Measure.

    Args:
        seconds: how long the server is overloaded.
    """
    bundle = Bundle(Store(STORE).resolve(MODEL))
    characters = [text.decode() for text in bundle.tokenizer.token_bytes[1:]]
    permits: int = Settings.model_fields["max_requests"].default
    environment = {"RNNSERVE_SET": SET, "RNNSERVE_MAX_CONNECTIONS": "4096"}  # one address stands for all clients
    with Server(STORE, [MODEL], environment) as server:
        closed = _closed(server, characters, min(CLOSED_SECONDS, seconds / 3))
        rate = TIMES_OVER * closed["request_throughput"]
        load = Overload(connector(server.port), server.port, server.pid, permits)
        cpu, own_cpu = server.cpu_seconds(), time.process_time()
        outcomes = run(load.run(asks(characters, seed=1), rate, seconds, seed=2))
        cores = {
            "server_cpu_per_second": (server.cpu_seconds() - cpu) / seconds,
            "client_cpu_per_second": (time.process_time() - own_cpu) / seconds,
        }
        is_well = _is_idle_again(server) and not _closed(server, characters, 1.0)["failed"]
    result = result_of(closed, rate, outcomes, is_well=is_well) | cores
    return Report("overload", [_table(result)], result, targets_of(result), draw(result))


def _closed(server: Server, characters: list[str], seconds: float) -> dict[str, Any]:
    """The figures of 64 clients that wait for their answers."""
    draw_from = random.Random(0)

    def next_request(_: int) -> Request:
        is_streamed = draw_from.random() < STREAMED
        return Request(PATH, w1(draw_from, characters, is_streamed=is_streamed), _count, is_streamed)

    return summary(run(closed_loop(connector(server.port), NUM_CLIENTS, seconds, next_request, WARM_UP)), seconds)


def _count(answer: bytes) -> Count:
    """Tokens of a whole answer, or of one event: they are characters."""
    content = orjson.loads(answer)
    if "error" in content:
        return Count(0, error=content["error"]["message"])
    return Count(len(content["choices"][0]["text"]), content.get("usage", {}).get("prompt_tokens", 0))


def _is_idle_again(server: Server) -> bool:
    """Whether every permit and every row comes back."""
    names = (f'rnnserve_{what}{{model="{MODEL}/1"}}' for what in ("requests_running", "rows_running", "rows_waiting"))
    wanted = list(names)
    deadline = time.perf_counter() + TIMEOUT
    while time.perf_counter() < deadline:
        metrics = server.metrics()
        if not any(metrics[name] for name in wanted):
            return True
        time.sleep(0.2)
    return False


def result_of(closed: Mapping[str, Any], rate: float, outcomes: Outcomes, *, is_well: bool) -> dict[str, Any]:
    """The figures and what must hold of them.

    Args:
        closed: figures of the closed loop.
        rate: requests a second of the overload.
        outcomes: what came of it.
        is_well: whether the server was idle and answered afterwards.
    """
    part = outcomes.seconds / PARTS
    rss = np.array(outcomes.rss[: int(outcomes.seconds)], np.float64) / 2**20
    memory = [float(piece.mean()) for piece in np.array_split(rss, PARTS)]
    latencies, ends = np.array(outcomes.latencies) * 1e3, np.array(outcomes.ends)
    of_part = [latencies[(ends >= i * part) & (ends < (i + 1) * part)] for i in range(PARTS)]
    p50, p99 = ([float(np.percentile(each, q)) if len(each) else None for each in of_part] for q in (50, 99))
    codes = sorted({status for second in outcomes.statuses for status in second})
    growth = memory[-1] / memory[1]
    slower = float(np.percentile(latencies, 99)) / closed["p99_e2el_ms"]
    return {
        "seconds": outcomes.seconds,
        "closed_loop": {key: closed[key] for key in ("request_throughput", "p50_e2el_ms", "p99_e2el_ms")},
        "rate": rate,
        "requests": sum(outcomes.kinds.values()),
        "admitted_per_second": len(latencies) / outcomes.seconds,
        "kinds": {f"{kind} {status or 'left'}": count for (kind, status), count in sorted(outcomes.kinds.items())},
        "admitted_p50_ms": float(np.percentile(latencies, 50)),
        "admitted_p99_ms": float(np.percentile(latencies, 99)),
        "p99_over_closed_loop": slower,
        "p50_ms_by_part": p50,
        "p99_ms_by_part": p99,
        "rss_mb_by_part": memory,
        "rss_growth": growth,
        "hung": outcomes.hung,
        "refused_with_room": outcomes.refused_with_room,
        "num_wrong": outcomes.num_wrong,
        "wrong": outcomes.wrong,
        "rss_mb": [round(value, 1) for value in rss.tolist()],
        "statuses": {str(code or "left"): [second[code] for second in outcomes.statuses] for code in codes},
        "is_well": is_well,
    }


def targets_of(result: Mapping[str, Any]) -> list[Target]:
    """What must hold of the figures."""
    return [
        Target("memory of the last part / that of the second", "<=", MOST_GROWTH, result["rss_growth"]),
        Target(f"p99 of admitted / that of {NUM_CLIENTS} clients", "<=", MOST_SLOWER, result["p99_over_closed_loop"]),
        Target("answers that are not allowed", "<=", 0, result["num_wrong"]),
        Target("429 with permits left", "<=", 0, result["refused_with_room"]),
        Target("requests that hang", "<=", 0, result["hung"]),
        Target("not idle and well afterwards", "<=", 0, int(not result["is_well"])),
    ]


def _table(result: Mapping[str, Any]) -> Table:
    closed = result["closed_loop"]
    title = (
        f"{MODEL} {SET}, {TIMES_OVER} x {closed['request_throughput']:,.0f} requests/s for {result['seconds']:,.0f} s"
    )
    table = Table("", "figure", title=title, title_justify="left")
    table.add_row("requests", f"{result['requests']:,}")
    for kind, count in result["kinds"].items():
        table.add_row(f"  {kind}", f"{count:,}")
    rows = {
        "admitted a second": f"{result['admitted_per_second']:,.0f}",
        f"p50 and p99 of {NUM_CLIENTS} clients, ms": f"{closed['p50_e2el_ms']:,.0f}  {closed['p99_e2el_ms']:,.0f}",
        "p50 and p99 of admitted, ms": f"{result['admitted_p50_ms']:,.0f}  {result['admitted_p99_ms']:,.0f}",
        "memory, second and last part, MiB": f"{result['rss_mb_by_part'][1]:,.0f}  {result['rss_mb_by_part'][-1]:,.0f}",
        "server's and client's cores": f"{result['server_cpu_per_second']:.2f}  {result['client_cpu_per_second']:.2f}",
    }
    for row, figure in rows.items():
        table.add_row(row, figure)
    for wrong in result["wrong"]:
        table.add_row("wrong", wrong)
    return table
