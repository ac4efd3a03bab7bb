"""The picture of an overload: memory, answers by status, and latencies, over the same time."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = {"200": "#2a7f3f", "429": "#e0a030", "504": "#b04070", "left": "#b0b0b0"}
_OTHER = "#5070b0"  # of the 4xx that malformed requests are answered with


def draw(result: Mapping[str, Any]) -> "Figure":
    """Three panels, one below the other.

    Args:
        result: of benchmarks.operation.overload.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 8), layout="constrained")
    memory, answers, latency = figure.subplots(3, 1, sharex=True)
    minutes = 60.0
    memory.plot([i / minutes for i in range(len(result["rss_mb"]))], result["rss_mb"], color="#333333")
    memory.set_ylim(bottom=0)
    memory.set_ylabel("server's memory, MiB")
    memory.set_title(
        f"{result['rate']:,.0f} requests/s, four times what 64 clients get, some of them malformed", loc="left"
    )

    series = _series(result["statuses"], int(result["seconds"]))
    times = [i / minutes for i in range(int(result["seconds"]))]
    colours = [_COLOURS.get(name, _OTHER) for name in series]
    answers.stackplot(times, *series.values(), labels=list(series), colors=colours)
    answers.set_ylabel("answers a second")
    answers.legend(loc="lower left", ncols=len(series), framealpha=0.9)

    width = result["seconds"] / len(result["p99_ms_by_part"]) / minutes
    middles = [(i + 0.5) * width for i in range(len(result["p99_ms_by_part"]))]
    latency.plot(middles, result["p99_ms_by_part"], "o-", color="#b03030", label="p99 of admitted")
    latency.plot(middles, result["p50_ms_by_part"], "o-", color="#2a7f3f", label="p50 of admitted")
    of_clients = result["closed_loop"]["p99_e2el_ms"]
    latency.axhline(of_clients, color="#333333", linestyle="--", label="p99 of 64 clients")
    latency.axhline(1.5 * of_clients, color="#333333", linestyle=":", label="1.5 times that")
    latency.set_ylim(bottom=0)
    latency.set_ylabel("latency, ms")
    latency.set_xlabel("minutes")
    latency.legend(loc="lower left", ncols=2, framealpha=0.9)
    for axes in (memory, answers, latency):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0, result["seconds"] / minutes)
    return figure


def _series(statuses: Mapping[str, list[int]], seconds: int) -> dict[str, list[int]]:
    """Answers of each second, the usual statuses by themselves and the other 4xx together."""
    names = {"200": "200", "429": "429", "504": "504", "left": "left"}
    series: dict[str, list[int]] = {}
    for status, counts in statuses.items():
        name = names.get(status, "other 4xx" if status.startswith("4") else status)
        before = series.get(name, [0] * seconds)
        series[name] = [a + b for a, b in zip(before, counts[:seconds], strict=True)]
    order = ["200", "429", "504", "other 4xx", "left"]
    return {name: series[name] for name in sorted(series, key=lambda name: order.index(name) if name in order else 99)}
