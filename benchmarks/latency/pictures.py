"""Pictures of the generation benchmarks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from export.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
