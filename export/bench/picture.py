"""Times of a bench as bars, one group for each case. Needs matplotlib (extra train)."""

from pathlib import Path

from export.bench.command import Bench
from models.errors import BackendMissingError


def draw(bench: Bench, path: Path) -> None:
    """Write a picture of microseconds by case and variant.

    Args:
        bench: what was found.
        path: the file; its ending (.png, .svg) says the format.

    Raises:
        BackendMissingError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendMissingError(
            f"A picture needs matplotlib, which is not installed ({error}). Install the extra train."
        ) from error
    cases = [str(item.case) for item in bench.measured]
    figure = Figure(figsize=(1.6 + 1.4 * len(cases), 4), layout="constrained")
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
