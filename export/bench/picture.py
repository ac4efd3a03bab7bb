"""Times of a bench as bars, one group for each case. Needs matplotlib (extra train)."""

from pathlib import Path

from export.bench.command import Bench
from export.figure import new_figure


def draw(bench: Bench, path: Path) -> None:
    """Write a picture of microseconds by case and variant.

    Args:
        bench: what was found.
        path: the file; its ending (.png, .svg) says the format.

    Raises:
        BackendMissingError: matplotlib is not installed.
    """
    cases = [str(item.case) for item in bench.measured]
    figure = new_figure(1.6 + 1.4 * len(cases), 4)
    axes = figure.subplots()
    width = 0.8 / len(bench.variants)
    for index, variant in enumerate(bench.variants):
        times = [item.microseconds(variant) for item in bench.measured]
        places = [case + (index - (len(bench.variants) - 1) / 2) * width for case in range(len(cases))]
        bars = axes.bar(places, [time or 0 for time in times], width, label=str(variant))
        axes.bar_label(bars, [f"{time:.0f}" if time else "" for time in times], fontsize=7)
    axes.set_yscale("log")
    axes.set_xticks(range(len(cases)), cases)
    axes.set_ylabel("microseconds of a call")
    axes.set_title(f"{bench.bundle.id}: fastest is {bench.choice}", fontsize=10)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
