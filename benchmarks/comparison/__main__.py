"""rnnserve, LitServe, BentoML and Ray Serve under the same load, in one run, beside the bare step loop.

All serve the same int8 graphs on ONNX Runtime with one thread in an operator; the others through one static-batch
generator (benchmarks.comparison.batch_generation) and their own dynamic batching, each as its documentation says,
with the best settings that were found (benchmarks.comparison.servers), with as many processes for the model as there
are cores. rnnserve is one process with its defaults. One server runs at a time; the rounds take turns. Clients and
server share the machine's cores.
The bare loops are the same graph at 64 rows, a loop on every core, state fed back, no sampling, no prompts.
The generator is also measured by itself, in batches of 64 without a server: no server that uses it once can be faster.

    make bench-comparison
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.comparison.batch_generation import GRAPH_SET, BatchGenerator, Request
from benchmarks.comparison.picture import picture
from benchmarks.comparison.process import machine_cpu_seconds
from benchmarks.comparison.servers import (
    BENTOML,
    LITSERVE,
    OTHERS,
    RAY_SERVE,
    RNNSERVE,
    Running,
    installed_version,
    running_rnnserve,
)
from benchmarks.comparison.workload import SHORT, Dialect, requests
from benchmarks.core_limit.bare import BoundLoop, core_seconds
from benchmarks.report import Report
from benchmarks.serving.client import connector
from benchmarks.serving.loops import closed_loop, run
from benchmarks.serving.record import summary
from benchmarks.serving.w1 import MODEL, NUM_CLIENTS, STORE, Workload, w1
from benchmarks.targets import Target
from models.bundle import Bundle
from models.store import Store
from runtime.device import num_cores
from runtime.onnxruntime.build import open_graph_set
from runtime.runner import Array

ROUNDS = 3
BARE_SECONDS, SECONDS, WARM_UP = 1.0, 8.0, 3.0
COLUMNS = {  # figure -> its heading
    "share_of_bare": "share of bare",
    "output_throughput": "tokens/s",
    "request_throughput": "requests/s",
    "p50_e2el_ms": "p50 ms",
    "p99_e2el_ms": "p99 ms",
    "p50_short_ms": f"p50 ms, <= {SHORT} tokens",
    "p99_short_ms": f"p99 ms, <= {SHORT} tokens",
    "server_cores": "server cores",
    "client_cores": "client cores",
    "other_cores": "other cores",
    "failed": "failed",
}


def main() -> Report:
    """Measure, print the table, write file and picture, end in one JSON line."""
    bundle = Bundle(Store(STORE).resolve(MODEL))
    session = open_graph_set(bundle.graph_set(GRAPH_SET), graphs=["step"]).session("step")
    inputs: dict[str, Array] = {
        "token": np.ones(NUM_CLIENTS, np.int64),
        "state": np.zeros((NUM_CLIENTS, bundle.record.state_width), np.float32),
    }
    generator = BatchGenerator.open(STORE, MODEL, NUM_CLIENTS)
    servers: dict[str, tuple[Callable[[], AbstractContextManager[Running]], Dialect]] = {
        "rnnserve": (running_rnnserve, RNNSERVE),
        **{name: (other.running, other.dialect) for name, other in OTHERS.items()},
    }
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
    bare: list[float] = []
    static: list[float] = []
    for number in range(ROUNDS):
        workload = w1(bundle, seed=number)
        static.append(_static_tokens_per_second(generator, workload))
        for name, (running, dialect) in servers.items():
            seconds = core_seconds(lambda: BoundLoop(session, inputs, feeds_back=True), BARE_SECONDS)
            bare.append(num_cores() * 2 * NUM_CLIENTS / seconds)
            with running() as server:
                found = _figures(server, workload, dialect)
            found["share_of_bare"] = found["output_throughput"] / bare[-1]
            rounds[name].append(found)
            print(
                f"round {number + 1}: {name} {found['share_of_bare']:.2f} of {bare[-1]:,.0f} tokens/s, "
                f"{found['other_cores']:.2f} cores busy with other things",
                flush=True,
            )
    figures = {name: {key: median(each[key] for each in found) for key in COLUMNS} for name, found in rounds.items()}
    for name in servers:
        figures[name]["failed"] = sum(each["failed"] for each in rounds[name])
    result = {
        "bare_tokens_per_second": median(bare),
        "static_batches_tokens_per_second": median(static),
        "servers": {name: _description(name) | found for name, found in figures.items()},
        "rounds": rounds,
    }
    ours, *others = figures.values()
    fastest, shortest = (
        max(each["request_throughput"] for each in others),
        min(each["p50_short_ms"] for each in others),
    )
    targets = [
        Target("requests/s / the best other's", ">=", 2.0, ours["request_throughput"] / fastest),
        Target(
            f"p50 of answers of at most {SHORT} tokens / the best other's", "<=", 0.25, ours["p50_short_ms"] / shortest
        ),
    ]
    return Report("comparison", [_table(figures, median(bare), median(static))], result, targets, picture(figures))


def _static_tokens_per_second(generator: BatchGenerator, workload: Workload) -> float:
    """Of the other servers' generator alone."""
    tokens, number, started = 0, 0, time.perf_counter()
    while time.perf_counter() - started < BARE_SECONDS:
        batch = [Request(*workload.ask(number + i)) for i in range(NUM_CLIENTS)]
        tokens += sum(answer.completion_tokens for answer in generator.answers(batch))
        number += NUM_CLIENTS
    return tokens / (time.perf_counter() - started)


def _figures(server: Running, workload: Workload, dialect: Dialect) -> dict[str, float]:
    """Load a server and make figures of it; cores are those of the whole load, warm-up and end included.

    Cores that neither the server nor the clients kept busy were taken by something else, and the round is worth less.
    """
    started = time.perf_counter()
    before = server.cpu_seconds(), time.process_time(), machine_cpu_seconds()
    load = closed_loop(connector(server.port), NUM_CLIENTS, SECONDS, requests(workload, dialect), WARM_UP)
    records = run(load)
    after = server.cpu_seconds(), time.process_time(), machine_cpu_seconds()
    seconds = time.perf_counter() - started
    server_cores, client_cores, all_cores = ((b - a) / seconds for a, b in zip(before, after, strict=True))
    found = summary(records, SECONDS)
    short = [record.e2el * 1e3 for record in records if record.error is None and record.output_tokens <= SHORT]
    return {
        **{name: found[name] for name in COLUMNS if name in found},
        "p50_short_ms": float(np.percentile(short, 50)),
        "p99_short_ms": float(np.percentile(short, 99)),
        "server_cores": server_cores,
        "client_cores": client_cores,
        "other_cores": max(0.0, all_cores - server_cores - client_cores),
    }


def _description(name: str) -> dict[str, Any]:
    """What was run: its version, and its batching settings."""
    if name not in OTHERS:
        return {"version": version("rnnserve")}
    other = OTHERS[name]
    return {
        "version": installed_version(other.package),
        "max_batch_size": other.max_batch_size,
        "wait_ms": other.wait_ms,
        "num_workers": other.num_workers,
    }


def _table(figures: dict[str, dict[str, float]], bare: float, static: float) -> Table:
    title = (
        f"{MODEL}, int8, {NUM_CLIENTS} clients, whole answers, median of {ROUNDS} rounds; "
        f"bare step loops {bare:,.0f} tokens/s, static batches without a server {static:,.0f}"
    )
    versions = ", ".join(
        f"{other.package} {installed_version(other.package)}" for other in (LITSERVE, BENTOML, RAY_SERVE)
    )
    caption = (
        f"{versions}; batches as in benchmarks/comparison/servers.py. Latencies are those of whole answers, and of the "
        f"answers of at most {SHORT} tokens among them; cores are CPU seconds a second, of all processes."
    )
    table = Table("server", *COLUMNS.values(), title=title, title_justify="left", caption=caption)
    for name, found in figures.items():
        values = [found[key] for key in COLUMNS]
        table.add_row(name, *(f"{value:.2f}" if 0 < value < 10 else f"{value:,.0f}" for value in values))
    return table
