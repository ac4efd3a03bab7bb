"""The generation engine without HTTP, beside the bare step loop of the same round: what scheduling and sampling cost.

64 callers in the same process, each asking again when it is answered: workload W1.

    python -m benchmarks engine
"""

from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.generation_bare import BareLoops, open_bundle
from benchmarks.generation_in_process import in_process
from benchmarks.generation_workload import MODEL, NUM_CLIENTS, STORE, w1
from benchmarks.report import NO_FILES, report
from benchmarks.serving.loops import run
from benchmarks.serving.record import summary
from benchmarks.targets import number
from models.bundle import Bundle

ROUNDS = 5
BARE_SECONDS, SECONDS, WARM_UP = 1.5, 4.0, 0.7
SET = "int8"


def main(num_rounds: int = ROUNDS) -> None:
    """Measure, print the table, end in one JSON line.

    Args:
        num_rounds: of all measurements; only with ROUNDS are files written.
    """
    bundle = open_bundle(MODEL)
    rounds = run(_rounds(bundle, num_rounds))
    medians = {key: median(each[key] for each in rounds) for key in rounds[0]}
    table = Table(
        "figure",
        f"median of {num_rounds} rounds",
        title=f"{MODEL} {SET}: the engine without HTTP, {NUM_CLIENTS} callers",
        title_justify="left",
    )
    for title, key in {
        "bare step loop, tokens/s": "bare_tokens_per_second",
        "engine, tokens/s": "output_throughput",
        "share of the bare loop": "share_of_bare",
        "share, prompt tokens counted too": "share_with_prompts",
        "requests/s": "request_throughput",
        "answer, p50 ms": "p50_e2el_ms",
        "answer, p99 ms": "p99_e2el_ms",
    }.items():
        table.add_row(title, number(medians[key]))
    report("engine", table, {**medians, "rounds": rounds}, **({} if num_rounds == ROUNDS else NO_FILES))


async def _rounds(bundle: Bundle, num_rounds: int) -> list[dict[str, Any]]:
    step = BareLoops(bundle, SET).step(NUM_CLIENTS)
    rounds: list[dict[str, Any]] = []
    async with in_process(STORE, MODEL, SET) as engine:
        for number_of_round in range(num_rounds):
            bare = step.rows_per_second(BARE_SECONDS)
            records = await engine.closed_loop(w1(bundle, number_of_round).ask, NUM_CLIENTS, SECONDS, WARM_UP)
            found = summary(records, SECONDS)
            rounds.append(
                {
                    "bare_tokens_per_second": bare,
                    "share_of_bare": found["output_throughput"] / bare,
                    "share_with_prompts": found["total_token_throughput"] / bare,
                    **{
                        key: found[key]
                        for key in ("output_throughput", "request_throughput", "p50_e2el_ms", "p99_e2el_ms")
                    },
                }
            )
    return rounds
