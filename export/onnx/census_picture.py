"""What a bundle's graphs are made of, as a picture: operators by family. Needs matplotlib (extra train)."""

import os
from pathlib import Path

import onnx

from export.figure import new_figure
from export.onnx.census import census
from models.bundle import Bundle
from models.errors import ExportError

FAMILIES: dict[str, tuple[str, ...]] = {
    "recurrent operators": ("LSTM", "GRU", "RNN"),
    "loops": ("Scan", "Loop"),
    "products": ("MatMul", "Gemm"),
    "integer products": ("MatMulInteger",),
    "rounding and types": ("QuantizeLinear", "DequantizeLinear", "Cast"),
    "elementwise": ("Add", "Mul", "Sub", "Div", "Neg", "Sigmoid", "Tanh", "Relu", "Softmax", "Where", "Less", "Exp",
                    "GreaterOrEqual", "Min", "Max", "Clip", "Not", "And", "Equal"),
}  # fmt: skip
OTHERS = "moving data"
ENDINGS = (".png", ".svg")
COLOURS = ("#4c72b0", "#c44e52", "#55a868", "#8172b3", "#ccb974", "#64b5cd", "#bbbbbb")


def families(model: onnx.ModelProto) -> dict[str, int]:
    """How many operators of each family a graph holds, bodies included."""
    counts = census(model)
    found = {family: sum(counts.pop(name, 0) for name in names) for family, names in FAMILIES.items()}
    return found | {OTHERS: counts.total()}


def check_picture(path: Path) -> None:
    """Refuse a file that cannot be drawn to, before anything else is done.

    Raises:
        ExportError: its ending is not one of ENDINGS, or it cannot be written there.
    """
    if path.suffix not in ENDINGS:
        raise ExportError(f"--picture {path} must end in {' or '.join(ENDINGS)}.")
    if not path.parent.is_dir() or path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ExportError(f"--picture {path} cannot be written: {path.parent} must be a folder that you may write to.")


def draw_census(bundle: Bundle, path: Path) -> None:
    """Write a picture with a bar for each graph of each set.

    Args:
        bundle: its graph sets are drawn.
        path: the file; its ending (.png, .svg) says the format.

    Raises:
        BackendMissingError: matplotlib is not installed.
    """
    sets = [bundle.graph_set(name) for name in bundle.graph_sets]
    bars = {
        f"{graph_set.name}  {graph}": families(onnx.load(str(graph_set.graph(graph)), load_external_data=False))
        for graph_set in sets
        for graph in graph_set.manifest.graphs
    }
    figure = new_figure(9, 1.2 + 0.32 * len(bars))
    axes = figure.subplots()
    left = [0] * len(bars)
    for family, colour in zip((*FAMILIES, OTHERS), COLOURS, strict=True):
        widths = [counts[family] for counts in bars.values()]
        if any(widths):
            drawn = axes.barh(list(bars), widths, left=left, label=family, color=colour)
            axes.bar_label(drawn, [str(width or "") for width in widths], label_type="center", fontsize=7)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("operators")
    axes.set_title(f"What the graphs of {bundle.id} are made of", fontsize=10)
    axes.legend(fontsize=8, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
