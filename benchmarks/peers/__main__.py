"""rnnserve, LitServe, BentoML and Ray Serve under the same load, in one run, beside the bare step loop.

All serve the same int8 graphs on ONNX Runtime with one thread in an operator; the others through one static-batch
generator (benchmarks.peers.batch_generation) and their own dynamic batching, each as its documentation says, with the
best settings that were found (benchmarks.peers.servers). One server runs at a time; the rounds take turns. Clients and
server share the machine's cores. The bare loop is the same graph at 64 rows, state fed back, no sampling, no prompts.

    make bench-peers
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import version
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.peers.picture import picture
from benchmarks.peers.servers import MODEL, PEERS, RNNSERVE, STORE, Running, installed_version, running_rnnserve
from benchmarks.peers.workload import NUM_CLIENTS, SHORT, Dialect, requests
from benchmarks.report import report
from benchmarks.serving.client import connector
from benchmarks.serving.loops import closed_loop, run
from benchmarks.serving.record import summary
from export.backends.onnxruntime.build import open_graph_set
from export.backends.onnxruntime.run import OnnxStepRunner
from models.bundle import Bundle
from models.store import Store

ROUNDS = 3
BARE_SECONDS, SECONDS, WARM_UP = 2.0, 8.0, 5.0
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
    "failed": "failed",
}


def main() -> None:
    """Measure, print the table, write file and picture, end in one JSON line."""
    bundle = Bundle(Store(STORE).resolve(MODEL))
    characters = [content.decode() for content in bundle.tokenizer.token_bytes[1:]]
    servers: dict[str, tuple[Callable[[], AbstractContextManager[Running]], Dialect]] = {
        "rnnserve": (running_rnnserve, RNNSERVE),
        **{name: (peer.running, peer.dialect) for name, peer in PEERS.items()},
    }
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
    bare: list[float] = []
    for number in range(ROUNDS):
        for name, (running, dialect) in servers.items():
            bare.append(_bare_tokens_per_second(bundle))
            with running() as server:
                found = _figures(server, characters, number, dialect)
            found["share_of_bare"] = found["output_throughput"] / bare[-1]
            rounds[name].append(found)
            print(f"round {number + 1}: {name} {found['share_of_bare']:.2f} of {bare[-1]:,.0f} tokens/s", flush=True)
    figures = {name: {key: median(each[key] for each in found) for key in COLUMNS} for name, found in rounds.items()}
    result = {
        "bare_tokens_per_second": median(bare),
        "servers": {name: _description(name) | found for name, found in figures.items()},
        "rounds": rounds,
    }
    report("peers", _table(figures, median(bare)), result, picture(figures))


def _bare_tokens_per_second(bundle: Bundle) -> float:
    graphs = open_graph_set(bundle.graph_set("int8"), graphs=["step"])
    runner = OnnxStepRunner(graphs, NUM_CLIENTS, bundle.record.state_width)
    tokens, rows = np.ones(NUM_CLIENTS, np.int64), np.arange(NUM_CLIENTS)
    runner.step(tokens, rows)
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < BARE_SECONDS:
        runner.step(tokens, rows)
        steps += 1
    return steps * NUM_CLIENTS / (time.perf_counter() - started)


def _figures(server: Running, characters: list[str], seed: int, dialect: Dialect) -> dict[str, float]:
    """Load a server and make figures of it; cores are those of the whole load, warm-up and end included."""
    server_cpu, client_cpu, started = server.cpu_seconds(), time.process_time(), time.perf_counter()
    load = closed_loop(connector(server.port), NUM_CLIENTS, SECONDS, requests(characters, seed, dialect), WARM_UP)
    records = run(load)
    seconds = time.perf_counter() - started
    found = summary(records, SECONDS)
    short = [record.e2el * 1e3 for record in records if record.error is None and record.output_tokens <= SHORT]
    return {
        **{name: found[name] for name in COLUMNS if name in found},
        "p50_short_ms": float(np.percentile(short, 50)),
        "p99_short_ms": float(np.percentile(short, 99)),
        "server_cores": (server.cpu_seconds() - server_cpu) / seconds,
        "client_cores": (time.process_time() - client_cpu) / seconds,
    }


def _description(name: str) -> dict[str, Any]:
    """What was run: its version, and how it was told to batch."""
    if name not in PEERS:
        return {"version": version("rnnserve")}
    peer = PEERS[name]
    return {
        "version": installed_version(peer.package),
        "max_batch_size": peer.max_batch_size,
        "wait_ms": peer.wait_ms,
    }


def _table(figures: dict[str, dict[str, float]], bare: float) -> Table:
    title = (
        f"{MODEL}, int8, {NUM_CLIENTS} clients, whole answers, median of {ROUNDS} rounds; "
        f"bare step loop {bare:,.0f} tokens/s"
    )
    table = Table("server", *COLUMNS.values(), title=title, title_justify="left")
    for name, found in figures.items():
        values = [found[key] for key in COLUMNS]
        table.add_row(name, *(f"{value:.2f}" if 0 < value < 10 else f"{value:,.0f}" for value in values))
    return table


if __name__ == "__main__":
    main()
