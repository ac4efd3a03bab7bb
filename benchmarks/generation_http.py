"""Generation over HTTP beside the bare step loop of the same round: how much of the runtime's speed clients get.

64 clients in a closed loop, workload W1, first whole answers and then streams. Client and server share the machine's
cores; the CPU time of both is in the table.

    python -m benchmarks http
"""

from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.generation_bare import BareLoops, BareStep, open_bundle
from benchmarks.generation_pictures import shares_picture
from benchmarks.generation_workload import MODEL, NUM_CLIENTS, STORE, Workload, check_nothing_was_known, w1
from benchmarks.report import NO_FILES, report
from benchmarks.serving.client import connector
from benchmarks.serving.cpu import CpuUse
from benchmarks.serving.loops import closed_loop, run
from benchmarks.serving.record import Record, summary
from benchmarks.serving.server import Server
from benchmarks.targets import Target, number, targets_table
from models.bundle import Bundle

ROUNDS = 5
BARE_SECONDS, SECONDS, WARM_UP = 1.0, 3.5, 1.0
SET = "int8"
MOST_TOKENS = 8  # of an event
WAYS = {"whole": 0.8, "streamed": 0.6}  # -> least share of the bare loop's tokens/s
_ROWS = {
    "tokens/s": "output_throughput",
    "share of the bare loop": "share_of_bare",
    "share, prompt tokens counted too": "share_with_prompts",
    "requests/s": "request_throughput",
    "requests failed": "failed",
    "answer p50 ms": "p50_e2el_ms",
    "answer p90 ms": "p90_e2el_ms",
    "answer p99 ms": "p99_e2el_ms",
    "first token p50 ms": "p50_ttft_ms",
    "first token p90 ms": "p90_ttft_ms",
    "first token p99 ms": "p99_ttft_ms",
    "time per token p50 ms": "p50_tpot_ms",
    "time per token p90 ms": "p90_tpot_ms",
    "time per token p99 ms": "p99_tpot_ms",
    "between events p99 ms": "p99_itl_ms",
    "tokens an event, mean": "mean_event_tokens",
    "tokens an event, most": "max_event_tokens",
    "server, CPU s/s": "server_cpu_per_second",
    "client, CPU s/s": "client_cpu_per_second",
}


def main(num_rounds: int = ROUNDS) -> None:
    """Measure, print the tables, end in one JSON line.

    Args:
        num_rounds: of all measurements; only with ROUNDS are files written.
    """
    bundle = open_bundle(MODEL)
    step = BareLoops(bundle, SET).step(NUM_CLIENTS)
    with Server(STORE, [MODEL], {"RNNSERVE_SET": SET}) as server:
        rounds = [_round(server, step, bundle, number_of_round) for number_of_round in range(num_rounds)]
        check_nothing_was_known(server, bundle.id)
    result = _result(rounds)
    targets = [
        *(
            Target(f"{way}: share of the bare loop's tokens/s", ">=", least, result[way]["share_of_bare"])
            for way, least in WAYS.items()
        ),
        Target("streamed: tokens an event, most", "<=", MOST_TOKENS, result["streamed"]["max_event_tokens"]),
        Target("requests failed", "<=", 0, max(result[way]["failed"] for way in WAYS)),
    ]
    result["targets"] = [target.as_json() for target in targets]
    result["is_met"] = all(target.is_met for target in targets)
    shares = {way: result[way]["share_of_bare"] for way in WAYS}
    picture = shares_picture(f"{MODEL} {SET} over HTTP, {NUM_CLIENTS} clients", shares, WAYS)
    tables = [_table(result), targets_table(targets)]
    report("http", tables, result, picture, **({} if num_rounds == ROUNDS else NO_FILES))


def _round(server: Server, step: BareStep, bundle: Bundle, number_of_round: int) -> dict[str, Any]:
    found: dict[str, Any] = {"bare_tokens_per_second": step.rows_per_second(BARE_SECONDS)}
    for place, way in enumerate(WAYS):
        workload = w1(bundle, len(WAYS) * number_of_round + place)
        found[way] = _closed(server, workload, found["bare_tokens_per_second"], is_streamed=way == "streamed")
    return found


def _closed(server: Server, workload: Workload, bare: float, *, is_streamed: bool) -> dict[str, Any]:
    next_request = workload.requests(is_streamed=is_streamed)
    cpu = CpuUse(server.pid)
    records = run(closed_loop(connector(server.port), NUM_CLIENTS, SECONDS, next_request, WARM_UP))
    cores = cpu.per_second()
    found = summary(records, SECONDS)
    return {
        **found,
        **event_tokens(records),
        **cores,
        "share_of_bare": found["output_throughput"] / bare,
        "share_with_prompts": found["total_token_throughput"] / bare,
    }


def event_tokens(records: list[Record]) -> dict[str, float | None]:
    """How many tokens the events of streams had, None without streams.

    Raises:
        RuntimeError: a stream's events have other tokens than its usage says.
    """
    for record in records:
        if record.error is None and record.event_tokens and sum(record.event_tokens) != record.output_tokens:
            raise RuntimeError(f"{sum(record.event_tokens)} tokens in events, and usage says {record.output_tokens}")
    counts = [count for record in records for count in record.event_tokens]
    if not counts:
        return {"mean_event_tokens": None, "max_event_tokens": None}
    return {"mean_event_tokens": sum(counts) / len(counts), "max_event_tokens": max(counts)}


def _result(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians of the rounds; of the tokens of an event, and of failures, the most in any round."""
    result: dict[str, Any] = {"bare_tokens_per_second": median(each["bare_tokens_per_second"] for each in rounds)}
    for way in WAYS:
        result[way] = medians([each[way] for each in rounds])
        for key in ("max_event_tokens", "failed"):
            values = [each[way][key] for each in rounds]
            result[way][key] = None if None in values else max(values)
    return {**result, "rounds": rounds}


def medians(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each figure that is a number in every round, its median; of one that is in none, None."""
    found: dict[str, Any] = {}
    for key in rounds[0]:
        values = [each[key] for each in rounds]
        if all(isinstance(value, int | float) for value in values):
            found[key] = median(values)
        elif all(value is None for value in values):
            found[key] = None
    return found


def _table(result: dict[str, Any]) -> Table:
    title = (
        f"{MODEL} {SET}, {NUM_CLIENTS} clients; bare loop {result['bare_tokens_per_second']:,.0f} tokens/s; "
        f"median of {len(result['rounds'])} rounds"
    )
    table = Table("figure", "whole answers", "streams", title=title, title_justify="left")
    for row, key in _ROWS.items():
        cells = (result[way][key] for way in WAYS)
        table.add_row(row, *("" if value is None else number(value) for value in cells))
    return table
