"""Workload W1 as a Poisson process at 60 % of the closed loop's rate, streamed: first tokens and tokens in time.

Latencies count from when a request was due. A first token is held against what it needs at least: the tokens of its
prompt that no prefill call reads, each a step at the median live batch; the prefill calls of the others; and two
windows, one that it waits for and one that makes the token. How many tokens prefill calls read, and the live batch, are
from the server's /metrics.

    python -m benchmarks open-loop
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from benchmarks.core_limit.generation import SET
from benchmarks.latency.bare import CHUNK, BareGraphs
from benchmarks.latency.pictures import latencies_picture
from benchmarks.report import Report
from benchmarks.rounds import medians
from benchmarks.serving.client import connector
from benchmarks.serving.histogram import Histogram
from benchmarks.serving.loops import closed_loop, open_loop, run
from benchmarks.serving.record import Record, summary
from benchmarks.serving.server import Server
from benchmarks.serving.w1 import MODEL, NUM_CLIENTS, STORE, check_nothing_was_known, w1
from benchmarks.targets import Target, number
from models.bundle import Bundle
from models.store import Store
from server.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDS = 5
CLOSED_SECONDS, WARM_UP, SECONDS, BARE_SECONDS = 5.0, 1.5, 8.0, 0.5
SHARE_OF_CLOSED = 0.6
STEPS_PER_TOKEN = 2.0
_ROWS = {
    "requests/s": "request_throughput",
    "first token p50, ms": "p50_ttft_ms",
    "first token p99, ms": "p99_ttft_ms",
    "first token p50 / what it needs": "first_p50",
    "first token p99 / what it needs": "first_p99",
    "time per token p50, ms": "p50_tpot_ms",
    "time per token p99, ms": "p99_tpot_ms",
    "time per token p99, bare steps": "steps_per_token",
    "median live batch of a lane": "live_batch",
    "bare step at that batch, ms": "step_ms",
    "prompt tokens read by prefill calls": "prefilled_share",
}


def main(num_rounds: int = ROUNDS) -> Report:
    """Measure."""
    bundle = Bundle(Store(STORE).resolve(MODEL))
    graphs = BareGraphs(bundle, SET)
    records: list[Record] = []
    with Server(STORE, [MODEL], {"RNNSERVE_SET": SET}) as server:
        rounds = [_round(server, graphs, bundle, number_of_round, records) for number_of_round in range(num_rounds)]
        check_nothing_was_known(server, bundle.id)
    result: dict[str, Any] = medians(rounds)
    targets = [
        Target("first token p50 / what it needs", "<=", 1, result["first_p50"]),
        Target("first token p99 / what it needs", "<=", 2, result["first_p99"]),
        Target("time per token p99, bare steps", "<=", STEPS_PER_TOKEN, result["steps_per_token"]),
        Target("requests answered 429, or failed", "<=", 0, sum(each["failed"] for each in rounds)),
    ]
    title = f"{MODEL} {SET}, W1 at {SHARE_OF_CLOSED:.0%} of the closed loop's rate; median of {num_rounds} rounds"
    table = Table("figure", "", title=title, title_justify="left")
    for row, key in _ROWS.items():
        table.add_row(row, number(result[key]))
    return Report("open-loop", [table], result, targets, _picture(records, result))


def _round(
    server: Server, graphs: BareGraphs, bundle: Bundle, number_of_round: int, kept: list[Record]
) -> dict[str, Any]:
    """The closed loop, for its rate, then the open one, whose requests `kept` gets."""
    connect = connector(server.port)
    closed, opened = (w1(bundle, 2 * number_of_round + place) for place in range(2))
    found = run(closed_loop(connect, NUM_CLIENTS, CLOSED_SECONDS, closed.streamed_request, WARM_UP))
    rate = SHARE_OF_CLOSED * summary(found, CLOSED_SECONDS)["request_throughput"]
    before = server.metrics()
    records = run(open_loop(connect, rate, SECONDS, opened.seed, opened.streamed_request))
    after = server.metrics()
    kept += records
    label = f'model="{bundle.id}"'
    live = Histogram.between(before, after, "rnnserve_batch_size", label).quantile(0.5)
    step = graphs.step_seconds(max(1, round(live)), BARE_SECONDS)
    chunk = graphs.prompt_seconds(CHUNK, BARE_SECONDS / 2)
    num_prompt_tokens = sum(record.prompt_tokens for record in records)
    name = f"rnnserve_prefilled_tokens_total{{{label}}}"
    share = (after[name] - before[name]) / num_prompt_tokens
    window = Settings.model_fields["window_steps"].default * step
    answered = [record for record in records if record.ttft is not None]
    needed = np.array(
        [record.prompt_tokens * ((1 - share) * step + share * chunk / CHUNK) + 2 * window for record in answered]
    )
    firsts = np.array([record.ttft for record in answered]) / needed
    figures = summary(records)
    return {
        **{key: figures[key] for key in _ROWS.values() if key in figures},
        "failed": figures["failed"],
        "first_p50": float(np.percentile(firsts, 50)),
        "first_p99": float(np.percentile(firsts, 99)),
        "steps_per_token": figures["p99_tpot_ms"] / 1e3 / step,
        "live_batch": live,
        "step_ms": step * 1e3,
        "prefilled_share": share,
    }


def _picture(records: list[Record], result: dict[str, Any]) -> "Figure":
    answered = [record for record in records if record.error is None]
    latencies = {
        "answer": [record.e2el * 1e3 for record in answered],
        "first token": [record.ttft * 1e3 for record in answered if record.ttft is not None],
        "time per token": [record.tpot * 1e3 for record in answered if record.tpot is not None],
    }
    marks = {f"{STEPS_PER_TOKEN:g} bare steps": STEPS_PER_TOKEN * result["step_ms"]}
    return latencies_picture(f"{MODEL} {SET}, W1, Poisson, from when a request was due", latencies, marks)
