"""Wrong int8 ranges: a scale with which values are clipped, or lie on a few of its 255 levels.

A state after tanh lies in [-1, 1] whatever the data, so its range is known. A ReLU state is held against the values
that PyTorch gives.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from export.parity.diagnosis.graph import Graph

Floats = NDArray[np.float32]

_TANH_BOUND = 1.0
_CLOSE = 1e-3  # by which a tanh range may be off
_MOST_CLIPPED = 0.01  # share of a ReLU state's positive values that may lie above its range
_WIDEST = 16  # times the largest value seen


def wrong_ranges(graph: Graph, hidden: list[Floats] | None) -> Iterator[str]:
    """A sentence for each quantised value of a graph whose range cannot be right.

    Args:
        graph: of an int8 set.
        hidden: of each ReLU layer its positive states as PyTorch gives them, float32 [any]; None when tanh bounds all.
    """
    for node in graph.nodes:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero_point = (graph.constant(name) for name in node.input[1:3])
        if scale is None or zero_point is None:
            yield f"{graph.where(node)} has an int8 range that is not fixed, so an answer depends on its neighbours"
            continue
        low, high = ((end - int(zero_point)) * float(scale) for end in (0, 255))
        if int(zero_point) == 0 and hidden is not None:
            wrong = "" if any(_fits(high, values) for values in hidden) else _nearest(high, hidden)
        elif abs(high - _TANH_BOUND) <= _CLOSE:
            wrong = ""
        else:
            consequence = "larger ones are clipped" if high < _TANH_BOUND else "most levels are never used"
            wrong = f"values after tanh lie in [-1, 1]: {consequence}"
        if wrong:
            yield f"the int8 range of {graph.where(node)} is [{low:.3g}, {high:.3g}], and {wrong}"


def _fits(high: float, values: Floats) -> bool:
    return values.size == 0 or (_clipped(high, values) <= _MOST_CLIPPED and high <= _WIDEST * float(values.max()))


def _clipped(high: float, values: Floats) -> float:
    return float((values > high).mean()) if values.size else 0.0


def _nearest(high: float, hidden: list[Floats]) -> str:
    values = min(hidden, key=lambda each: _clipped(high, each))
    return f"the states of the nearest layer reach {values.max():.3g}: {_clipped(high, values):.0%} are clipped"
