"""The comparison as a picture: what each server makes of the runtime's speed, and how long short answers take."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from benchmarks.comparison.workload import SHORT
from benchmarks.serving.w1 import NUM_CLIENTS
from export.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OURS, _OTHERS = "#1f5f8b", "#b0b7bf"
_PANELS = (
    (
        "share_of_bare",
        f"tokens/s, share of the bare step loop\n({NUM_CLIENTS} clients, more is better)",
        100,
        "{:.0f} %",
    ),
    (
        "p99_short_ms",
        f"p99 latency of short answers, at most {SHORT} tokens\n(the same load, less is better)",
        1,
        "{:,.0f} ms",
    ),
)


def picture(figures: Mapping[str, Mapping[str, float]]) -> "Figure":
    """Two panels of bars, a bar for each server.

    Args:
        figures: by server, in the order to be shown: share_of_bare, and p99_short_ms in milliseconds.

    Raises:
        BackendMissingError: matplotlib is not installed.
    """
    figure = new_figure(9.0, 1.1 + 0.42 * len(figures))
    names = list(figures)
    colours = [_OURS, *[_OTHERS] * (len(names) - 1)]
    for axes, (key, title, factor, text) in zip(figure.subplots(1, len(_PANELS), sharey=True), _PANELS, strict=True):
        values = [figures[name][key] * factor for name in names]
        bars = axes.barh(names, values, color=colours)
        axes.bar_label(bars, [text.format(value) for value in values], padding=4)
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlim(0, max(values) * 1.25)
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        axes.tick_params(left=False, bottom=False, labelbottom=False)
    figure.axes[0].invert_yaxis()
    return figure
