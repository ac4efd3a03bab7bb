"""Generation over HTTP under the load scenarios of MLPerf Inference (Reddi et al., 2020, section 3.2), workload W1.

- Offline: all requests at the same moment; the server admits as many for this one.
- SingleStream: one client; the time that 90 % of its answers take.
- Server: requests come as a Poisson process at 80 % of what 64 clients in a closed loop get answered a second in the
  same round, both streamed. Latencies count from when a request was due.

The server's limits on latency are in bare steps: of the graph alone, at the batch that was live in the median step of
the Server run. That batch is read from the server's /metrics (rnnserve_batch_size before and after; inside a bucket
steps are taken to be spread evenly), the step's time is measured right after. Time to first token is held against ten
such steps plus the time that its prompt takes alone on the machine, request by request.

    python -m benchmarks scenarios
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from benchmarks.generation_bare import BareLoops, open_bundle
from benchmarks.generation_http import event_tokens, medians
from benchmarks.generation_pictures import latencies_picture
from benchmarks.generation_workload import MODEL, NUM_CLIENTS, STORE, Workload, check_nothing_was_known, w1
from benchmarks.report import NO_FILES, report
from benchmarks.serving.client import connector
from benchmarks.serving.cpu import CpuUse
from benchmarks.serving.histogram import Histogram
from benchmarks.serving.loops import all_at_once, closed_loop, open_loop, run
from benchmarks.serving.record import Record, summary
from benchmarks.serving.server import Server
from benchmarks.targets import Target, number, targets_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDS = 5
BARE_SECONDS, CLOSED_SECONDS, WARM_UP, OPEN_SECONDS, SINGLE_SECONDS = 1.0, 2.5, 1.0, 4.0, 2.0
NUM_OFFLINE = 512
SHARE_OF_CLOSED = 0.8
STEPS_PER_TOKEN, STEPS_TO_FIRST = 3, 10
SET = "int8"
_ROWS = {
    "requests/s": "request_throughput",
    "tokens/s": "output_throughput",
    "share of the bare loop": "share_of_bare",
    "failed": "failed",
    "answer p50 ms": "p50_e2el_ms",
    "answer p90 ms": "p90_e2el_ms",
    "answer p99 ms": "p99_e2el_ms",
    "first token p50 ms": "p50_ttft_ms",
    "first token p99 ms": "p99_ttft_ms",
    "time per token p50 ms": "p50_tpot_ms",
    "time per token p99 ms": "p99_tpot_ms",
    "most requests at once": "max_concurrent_requests",
    f"requests/s with at most {STEPS_PER_TOKEN} bare steps a token": "goodput",
    "sent late by, p99 ms": "p99_client_queue_ms",
    "server, CPU s/s": "server_cpu_per_second",
    "client, CPU s/s": "client_cpu_per_second",
    "live batch, median step": "median_live_batch",
    "bare step at that batch, ms": "bare_step_ms",
    "time per token p99, bare steps": "p99_tpot_steps",
    "first token p99, bare steps, prompt's reading taken off": "p99_ttft_steps",
}


def main(num_rounds: int = ROUNDS) -> None:
    """Measure, print the tables, end in one JSON line.

    Args:
        num_rounds: of all measurements; only with ROUNDS are files written.
    """
    bundle = open_bundle(MODEL)
    loops = BareLoops(bundle, SET)
    # Four for each round, so that no server is sent a prompt twice.
    offline_w1, single_w1, closed_w1, open_w1 = (
        [w1(bundle, place * num_rounds + number_of_round) for number_of_round in range(num_rounds)]
        for place in range(4)
    )
    settings = {"RNNSERVE_SET": SET}
    with Server(STORE, [MODEL], settings | {"RNNSERVE_MAX_REQUESTS": str(NUM_OFFLINE)}) as server:
        offline = [_offline(server, loops, workload) for workload in offline_w1]
    with Server(STORE, [MODEL], settings) as server:
        single = [_single_stream(server, loops, workload) for workload in single_w1]
        records: list[Record] = []
        served = [_server(server, loops, bundle.id, pair, records) for pair in zip(closed_w1, open_w1, strict=True)]
        check_nothing_was_known(server, bundle.id)
    found = {"Offline": offline, "SingleStream": single, "Server": served}
    result: dict[str, Any] = {name: medians(rounds) | {"rounds": rounds} for name, rounds in found.items()}
    refused = sum(each["statuses"].get("429", 0) for each in served)
    targets = [
        Target("Server: time per token p99, bare steps", "<=", STEPS_PER_TOKEN, result["Server"]["p99_tpot_steps"]),
        Target(
            "Server: first token p99, bare steps, prompt's reading taken off",
            "<=",
            STEPS_TO_FIRST,
            result["Server"]["p99_ttft_steps"],
        ),
        Target("Server: requests answered 429", "<=", 0, refused),
        Target("requests failed", "<=", 0, sum(each["failed"] for rounds in found.values() for each in rounds)),
    ]
    result["targets"] = [target.as_json() for target in targets]
    result["is_met"] = all(target.is_met for target in targets)
    tables = [_table(result, num_rounds), targets_table(targets)]
    report("scenarios", tables, result, _picture(result, records), **({} if num_rounds == ROUNDS else NO_FILES))


def _offline(server: Server, loops: BareLoops, workload: Workload) -> dict[str, Any]:
    bare = loops.step(NUM_CLIENTS).rows_per_second(BARE_SECONDS)
    cpu = CpuUse(server.pid)
    records = run(all_at_once(connector(server.port), NUM_OFFLINE, workload.request))
    return _figures(records, None, bare) | cpu.per_second()


def _single_stream(server: Server, loops: BareLoops, workload: Workload) -> dict[str, Any]:
    bare = loops.step(1).rows_per_second(BARE_SECONDS)
    cpu = CpuUse(server.pid)
    records = run(closed_loop(connector(server.port), 1, SINGLE_SECONDS, workload.streamed_request))
    return _figures(records, SINGLE_SECONDS, bare) | cpu.per_second()


def _server(
    server: Server, loops: BareLoops, model: str, workloads: tuple[Workload, Workload], kept: list[Record]
) -> dict[str, Any]:
    """One round: the closed loop with the first workload, then Poisson with the second, whose requests `kept` gets."""
    in_closed, in_open = workloads
    connect = connector(server.port)
    bare = loops.step(NUM_CLIENTS).rows_per_second(BARE_SECONDS)
    token_seconds = loops.seconds_per_prompt_token(BARE_SECONDS / 4)
    closed = run(closed_loop(connect, NUM_CLIENTS, CLOSED_SECONDS, in_closed.streamed_request, WARM_UP))
    rate = SHARE_OF_CLOSED * summary(closed, CLOSED_SECONDS)["request_throughput"]
    cpu, before = CpuUse(server.pid), server.metrics()
    records = run(open_loop(connect, rate, OPEN_SECONDS, in_open.seed, in_open.streamed_request))
    cores, after = cpu.per_second(), server.metrics()
    kept += records
    batches = Histogram.between(before, after, "rnnserve_batch_size", f'model="{model}"')
    live = batches.quantile(0.5)
    step = loops.step(max(1, round(live))).seconds_of_step(BARE_SECONDS / 2)
    answered = [record for record in records if record.error is None]
    tpots = [record.tpot for record in answered if record.tpot is not None]
    excess = [(record.ttft or 0.0) - token_seconds * record.prompt_tokens for record in answered]
    limits = {"tpot": STEPS_PER_TOKEN * step * 1e3}
    return {
        **_figures(records, None, bare, limits),
        **cores,
        "rate": rate,
        "median_live_batch": live,
        "mean_live_batch": batches.mean,
        "live_batch_from": "/metrics",
        "bare_step_ms": step * 1e3,
        "bare_prompt_token_us": token_seconds * 1e6,
        "p99_tpot_steps": float(np.percentile(tpots, 99)) / step,
        "p99_ttft_steps": float(np.percentile(excess, 99)) / step,
    }


def _figures(
    records: list[Record], seconds: float | None, bare: float, limits: dict[str, float] | None = None
) -> dict[str, Any]:
    found = summary(records, seconds, limits)
    return {
        **found,
        **event_tokens(records),
        "goodput": found["request_goodput"] if limits else None,
        "bare_tokens_per_second": bare,
        "share_of_bare": found["output_throughput"] / bare,
    }


def _picture(result: dict[str, Any], records: list[Record]) -> "Figure":
    """The latencies of all rounds of Server."""
    answered = [record for record in records if record.error is None]
    latencies = {
        "answer": [record.e2el * 1e3 for record in answered],
        "first token": [record.ttft * 1e3 for record in answered if record.ttft is not None],
        "time per token": [record.tpot * 1e3 for record in answered if record.tpot is not None],
    }
    marks = {f"{STEPS_PER_TOKEN} bare steps": STEPS_PER_TOKEN * result["Server"]["bare_step_ms"]}
    title = f"{MODEL} {SET}: {number(result['Server']['rate'])} requests a second, Poisson, from when they were due"
    return latencies_picture(title, latencies, marks)


def _table(result: dict[str, Any], num_rounds: int) -> Table:
    names = ("Offline", "SingleStream", "Server")
    title = f"{MODEL} {SET}, W1; bare loop at {NUM_CLIENTS} rows, SingleStream at 1; median of {num_rounds} rounds"
    offline, single = f"{names[0]}, {NUM_OFFLINE}", names[1]
    server = f"{names[2]}, {number(result['Server']['rate'])} a second"
    table = Table("figure", offline, single, server, title=title, title_justify="left")
    for row, key in _ROWS.items():
        cells = (result[name].get(key) for name in names)
        table.add_row(row, *("" if value is None else number(value) for value in cells))
    return table
