"""The quantised linear map: integers inside, float32 at both ends, bitwise independent of the batch.

Activations are uint8 with one fixed scale for each edge, known at export (a tanh-bounded state needs no measuring);
weights are int8 with one scale for each output channel, symmetric. Sums of integers are exact in any order, so a row's
result cannot depend on the rest of the batch, on threads, or on chunking (Jacob et al. 2018, section 2, without the
dynamic range that makes ONNX Runtime's own dynamic quantisation depend on the whole batch).

Weights use 64 levels to each side of zero, not 127. x86 before VNNI adds pairs of u8 x s8 products in 16 bits, and
2 x 255 x 64 = 32,640 is the most that fits; so every CPU gives the same sums. The bit costs almost nothing: the shipped
language model's int8 loss is within 0.03 % of float32's (`pytest -s tests/end_to_end/test_shipped_bundle.py`). The
runtime's own remedy (session.x64quantprecision) does not reach into Scan bodies, so `step` and `advance` would differ.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from export.onnx.graph import FLOAT, OnnxGraph

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Edge:
    """How a float value is written as uint8: value = (q - zero_point) * scale.

    Attributes:
        scale: step between neighbouring values, > 0.
        zero_point: the integer that stands for 0.
    """

    scale: float
    zero_point: int

    def quantized(self, values: Floats) -> NDArray[np.uint8]:
        """As QuantizeLinear: round half to even, saturate."""
        scaled = np.rint(values / np.float32(self.scale)) + self.zero_point
        clipped: NDArray[np.uint8] = np.clip(scaled, 0, 255).astype(np.uint8)
        return clipped


def signed_edge(bound: float) -> Edge:
    """The edge of values in [-bound, bound]."""
    return Edge(scale=bound / 127, zero_point=128)


def positive_edge(bound: float) -> Edge:
    """The edge of values in [0, bound]."""
    return Edge(scale=bound / 255, zero_point=0)


TANH_EDGE = signed_edge(1.0)
WEIGHT_LEVELS = 64  # to each side of zero


def channel_scales(weight: Floats, levels: int = WEIGHT_LEVELS) -> Floats:
    """Scale for each output channel of a weight [inputs, outputs], so that its largest magnitude becomes `levels`."""
    largest = np.abs(weight).max(axis=0)
    scales: Floats = (np.where(largest > 0, largest, 1) / np.float32(levels)).astype(np.float32)
    return scales


def quantized_weight(weight: Floats, scales: Floats) -> NDArray[np.int8]:
    """int8 [inputs, outputs]: weight / scales, rounded."""
    rounded: NDArray[np.int8] = np.rint(weight / scales).astype(np.int8)
    return rounded


def quantize(graph: OnnxGraph, value: str, edge: Edge) -> str:
    """Add the node that writes a float value as uint8."""
    scale = graph.constant(np.float32(edge.scale), "scale")
    return graph.node("QuantizeLinear", value, scale, graph.constant(np.uint8(edge.zero_point), "zero_point"))


def dequantize(graph: OnnxGraph, value: str, edge: Edge) -> str:
    """Add the node that reads uint8 as float32."""
    scale = graph.constant(np.float32(edge.scale), "scale")
    return graph.node("DequantizeLinear", value, scale, graph.constant(np.uint8(edge.zero_point), "zero_point"))


class QuantizedLinear:
    """x @ weight + bias over a quantised x, with the weight's constants made once and usable in many bodies.

    Args:
        graph: where the constants go.
        weight: float32 [inputs, outputs].
        bias: float32 [outputs], or None.
        edges: the edge of each segment of x with its width; a segment's scale is folded into the weight's rows, so
            that one product serves all. All segments share one zero point.
    """

    def __init__(self, graph: OnnxGraph, weight: Floats, bias: Floats | None, edges: list[tuple[Edge, int]]) -> None:
        (zero_point,) = {edge.zero_point for edge, _ in edges}
        scale_of_row = np.concatenate([np.full(width, edge.scale, np.float32) for edge, width in edges])
        scaled = weight * scale_of_row[:, None]
        scales = channel_scales(scaled)
        self._graph = graph
        self._widths = [width for _, width in edges]
        self._weight = graph.constant(quantized_weight(scaled, scales), "weight")
        self._scales = graph.constant(scales, "weight_scale")
        self._bias = None if bias is None else graph.constant(bias.astype(np.float32), "bias")
        self._zero_point = graph.constant(np.uint8(zero_point), "zero_point")

    def __call__(self, graph: OnnxGraph, quantized: str, row_scale: str | None = None) -> str:
        """Add the nodes: uint8 [..., inputs] -> float32 [..., outputs].

        Args:
            graph: the graph or body to add them to.
            quantized: the input.
            row_scale: float32 [..., 1], a scale for each row of the input on top of the edge's.
        """
        return self.scaled(graph, self.product(graph, quantized), row_scale)

    def segments(self) -> list[str]:
        """The weight's rows for each segment of x. Their products add up, as integers, to the whole's product.

        They are slices of the one stored weight, which the runtime cuts when it loads the graph.
        """
        bounds = np.cumsum([0, *self._widths])
        return [
            self._graph.node("Slice", self._weight, *(self._graph.constant(np.array([at], np.int64)) for at in ends))
            for ends in itertools.pairwise(bounds.tolist())
        ]

    def product(self, graph: OnnxGraph, quantized: str, segment: str | None = None) -> str:
        """Add the product alone: uint8 [..., inputs] -> int32 [..., outputs]; of one segment, when it is given."""
        return graph.node("MatMulInteger", quantized, segment or self._weight, self._zero_point)

    def scaled(self, graph: OnnxGraph, product: str, row_scale: str | None = None) -> str:
        """Add what makes a product float32: its scales and the bias."""
        result = graph.node("Mul", graph.node("Cast", product, to=FLOAT), self._scales)
        if row_scale is not None:
            result = graph.node("Mul", result, row_scale)
        return result if self._bias is None else graph.node("Add", result, self._bias)
