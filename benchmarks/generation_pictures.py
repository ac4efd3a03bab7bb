"""Pictures of the generation benchmarks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from export.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def shares_picture(title: str, shares: Mapping[str, float], least: Mapping[str, float]) -> "Figure":
    """Bars of what share of the bare loop's tokens/s each way has, with the least that was promised.

    Args:
        title: above the picture.
        shares: by way.
        least: by way; a line across its bar.
    """
    figure = new_figure(6, 0.9 + 0.6 * len(shares))
    axes = figure.add_subplot()
    bars = axes.barh(list(shares), list(shares.values()), color="#4c72b0", height=0.6)
    axes.bar_label(bars, [f"{share:.2f}" for share in shares.values()], padding=4, fontsize=9)
    for place, way in enumerate(shares):
        if way in least:
            axes.vlines(least[way], place - 0.4, place + 0.4, color="#c44e52", label="target" if not place else "_")
    axes.invert_yaxis()
    axes.set_xlim(0, max(1.05, 1.1 * max(shares.values())))
    axes.set(title=title, xlabel="share of the bare step loop's tokens a second")
    axes.spines[["top", "right"]].set_visible(False)
    if least:
        axes.legend(loc="lower right", fontsize=8)
    return figure


def latencies_picture(title: str, latencies: Mapping[str, Sequence[float]], marks: Mapping[str, float]) -> "Figure":
    """Latencies by percentile.

    Args:
        title: above the picture.
        latencies: milliseconds, by what they are of.
        marks: milliseconds, by what they are; lines across.
    """
    figure = new_figure(7, 4)
    axes = figure.add_subplot()
    percentiles = np.linspace(0, 100, 201)
    for name, values in latencies.items():
        axes.plot(percentiles, np.percentile(values, percentiles), label=name)
    for name, value in marks.items():
        axes.axhline(value, color="#c44e52", linewidth=0.8, linestyle="--")
        axes.annotate(name, (1, value), fontsize=8, va="bottom", color="#c44e52")
    axes.set_yscale("log")
    axes.set(title=title, xlabel="percentile of requests", ylabel="milliseconds")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
