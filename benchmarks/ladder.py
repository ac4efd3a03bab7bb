"""What each idea brings, one rung at a time: the same requests, the same 64 callers, no HTTP.

- one at a time: the engine is given one request; 63 wait outside. fp32.
- static batches: 64 requests are read and stepped together until the longest ends (benchmarks.static_batches). fp32.
- step batching: requests join and leave at every step, as the engine does it. fp32.
- int8: the same with the int8 graphs.
- prefix cache: on requests that begin with one of 8 texts of 256 characters, without the cache and with it; W1, which
  the rungs before answer, has nothing that two requests share. What the cache brings is the ratio of the two.

Static batches are measured over one whole batch a round, the others over a window. A round measures all rungs, and a
ratio is the median of the rounds' ratios. One at a time has no latencies: most callers wait longer than the window.

    python -m benchmarks ladder
"""

from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.table import Table

from benchmarks.generation_bare import open_bundle
from benchmarks.generation_in_process import InProcess, in_process
from benchmarks.generation_workload import MODEL, NUM_CLIENTS, Workload, shared, w1
from benchmarks.graph_answers import with_sets
from benchmarks.report import NO_FILES, report
from benchmarks.serving.loops import run
from benchmarks.serving.record import Record, summary
from benchmarks.static_batches import StaticBatches
from benchmarks.targets import number
from models.bundle import Bundle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDS = 5
# Measured seconds and those before, by graph set: the warm-up is longer than an answer takes.
WINDOWS = {"fp32": (3.0, 2.0), "int8": (2.0, 1.0)}
NUM_PREFIXES, PREFIX_LENGTH = 8, 256
RUNGS = ("one at a time, fp32", "static batches, fp32", "step batching, fp32", "step batching, int8")
SHARED = ("shared prefixes, no cache, int8", "shared prefixes, cache, int8")
KEPT = ("output_throughput", "request_throughput", "p50_e2el_ms", "p99_e2el_ms")


def main(num_rounds: int = ROUNDS) -> None:
    """Measure, print the table, end in one JSON line.

    Args:
        num_rounds: how often all rungs are measured; only with ROUNDS are files written.
    """
    bundle = open_bundle(MODEL)
    with with_sets(bundle, ("fp32", "int8")) as bundles:
        rounds = run(_rounds(bundles["fp32"], bundle, num_rounds))
    result = _result(rounds)
    report("ladder", _table(result), result, _picture(result), **({} if num_rounds == ROUNDS else NO_FILES))


async def _rounds(fp32: Bundle, int8: Bundle, num_rounds: int) -> list[dict[str, dict[str, float]]]:
    """For each round, by rung, its figures."""
    static = StaticBatches(fp32, "fp32", NUM_CLIENTS)
    rounds = []
    async with AsyncExitStack() as stack:

        async def engine(bundle: Bundle, set_name: str, cache_bytes: int | None = None) -> InProcess:
            store = Path(bundle.path).parents[1]
            return await stack.enter_async_context(in_process(store, bundle.record.name, set_name, cache_bytes))

        in_fp32, in_int8 = await engine(fp32, "fp32", 0), await engine(int8, "int8", 0)
        with_cache = await engine(int8, "int8")
        for each in range(num_rounds):
            plain, prefixed = w1(int8, each), shared(int8, each, NUM_PREFIXES, PREFIX_LENGTH)
            records = static.closed_loop([plain.ask(i) for i in range(NUM_CLIENTS)], NUM_CLIENTS)
            rounds.append(
                {
                    RUNGS[0]: await _window(in_fp32, plain, "fp32", at_once=1),
                    RUNGS[1]: _figures(records, None),
                    RUNGS[2]: await _window(in_fp32, plain, "fp32"),
                    RUNGS[3]: await _window(in_int8, plain, "int8"),
                    SHARED[0]: await _window(in_int8, prefixed, "int8"),
                    SHARED[1]: await _window(with_cache, prefixed, "int8"),
                }
            )
    return rounds


async def _window(engine: InProcess, workload: Workload, set_name: str, at_once: int | None = None) -> dict[str, float]:
    seconds, warm_up = WINDOWS[set_name]
    figures = _figures(await engine.closed_loop(workload.ask, NUM_CLIENTS, seconds, warm_up, at_once), seconds)
    return {key: figures[key] for key in KEPT if at_once is None or "_ms" not in key}


def _figures(records: list[Record], seconds: float | None) -> dict[str, float]:
    found = summary(records, seconds)
    return {key: found[key] for key in KEPT}


def _result(rounds: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """By rung its medians, and how many times the tokens/s of the rung before it, and of the first, it has."""
    before = dict(zip((*RUNGS[1:], SHARED[1]), (*RUNGS[:-1], SHARED[0]), strict=True))
    rungs: dict[str, dict[str, float | None]] = {}
    for rung in rounds[0]:
        figures: dict[str, float | None] = {
            key: median(each[rung][key] for each in rounds) if key in rounds[0][rung] else None for key in KEPT
        }
        below, first = before.get(rung), RUNGS[0] if rung in RUNGS else None
        figures["over_rung_before"] = _ratio(rounds, rung, below)
        figures["over_first"] = _ratio(rounds, rung, first)
        rungs[rung] = figures
    return {"rungs": rungs, "rounds": rounds}


def _ratio(rounds: list[dict[str, dict[str, float]]], rung: str, other: str | None) -> float | None:
    if other is None:
        return None
    return median(each[rung]["output_throughput"] / each[other]["output_throughput"] for each in rounds)


def _table(result: dict[str, Any]) -> Table:
    table = Table(
        "rung",
        "tokens/s",
        "x the rung before",
        "x the first",
        "requests/s",
        "answer p50 ms",
        "p99 ms",
        title=f"{MODEL}, {NUM_CLIENTS} callers in one process, W1; then W1 behind {NUM_PREFIXES} shared prefixes of "
        f"{PREFIX_LENGTH} characters",
        title_justify="left",
        caption=f"median of {len(result['rounds'])} rounds",
    )
    for rung, found in result["rungs"].items():
        ratios = ("" if found[key] is None else f"{found[key]:.2f}" for key in ("over_rung_before", "over_first"))
        others = ("" if found[key] is None else number(found[key]) for key in KEPT[1:])
        table.add_row(
            rung,
            number(found["output_throughput"]),
            *ratios,
            *others,
        )
    return table


def _picture(result: dict[str, Any]) -> "Figure":
    """Bars of tokens a second, each with what it is of the rung before."""
    from export.figure import new_figure

    rungs = result["rungs"]
    figure = new_figure(8, 3.4)
    axes = figure.add_subplot()
    colours = ["#4c72b0"] * len(RUNGS) + ["#bbbbbb", "#55a868"]
    bars = axes.barh(list(rungs), [found["output_throughput"] for found in rungs.values()], color=colours)
    labels = [
        f"{found['output_throughput']:,.0f}"
        + ("" if found["over_rung_before"] is None else f"  ({found['over_rung_before']:.2f} x)")
        for found in rungs.values()
    ]
    axes.bar_label(bars, labels, padding=4, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.28)
    axes.set(xlabel="generated tokens a second", title=f"{MODEL}: what each idea brings (x: over the rung before)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
