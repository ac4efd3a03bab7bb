"""What token ids add to the gates of layer 0: a table of ready products, or int8 embedding rows and a product."""

import numpy as np

from export.onnx.graph import OnnxGraph
from export.onnx.int8.cells import InputTerm
from export.onnx.int8.linear import Edge, Floats, QuantizedLinear, channel_scales, quantized_weight

# Up to this many numbers the product of the embedding with layer 0's input weights is stored as a table instead.
MAX_TABLE_SIZE = 1_000_000


def has_table(embedding: Floats, input_weight: Floats) -> bool:
    """Whether the products of float32 [V, E] and [gates * hidden, E] are stored ready-made."""
    return len(embedding) * len(input_weight) <= MAX_TABLE_SIZE


def embedding_term(graph: OnnxGraph, embedding: Floats, input_weight: Floats, bias: Floats) -> InputTerm:
    """The input term over token ids.

    Args:
        graph: where the constants go.
        embedding: float32 [V, E].
        input_weight: float32 [gates * hidden, E].
        bias: float32 [gates * hidden].
    """
    if has_table(embedding, input_weight):
        return _Table(graph, (embedding @ input_weight.T + bias).astype(np.float32))
    return _QuantizedEmbedding(graph, embedding, input_weight, bias)


class _Table:
    """A look-up: embedding times input weights plus bias, computed at export."""

    def __init__(self, graph: OnnxGraph, table: Floats) -> None:
        self._table = graph.constant(table, "input_table")

    def __call__(self, graph: OnnxGraph, value: str) -> str:
        return graph.node("Gather", self._table, value)


class _QuantizedEmbedding:
    """For a large vocabulary: int8 rows with a scale for each row, then the product."""

    def __init__(self, graph: OnnxGraph, embedding: Floats, input_weight: Floats, bias: Floats) -> None:
        row_scales = channel_scales(embedding.T, levels=127)
        rows = (quantized_weight(embedding.T, row_scales).T.astype(np.int16) + 128).astype(np.uint8)
        self._rows = graph.constant(rows, "embedding")
        self._row_scales = graph.constant(row_scales[:, None], "embedding_scale")
        unit = Edge(scale=1.0, zero_point=128)
        self._product = QuantizedLinear(graph, input_weight.T, None, [(unit, embedding.shape[1])])
        self._bias = graph.constant(bias.astype(np.float32), "bias")

    def __call__(self, graph: OnnxGraph, value: str) -> str:
        rows, scales = graph.node("Gather", self._rows, value), graph.node("Gather", self._row_scales, value)
        return graph.node("Add", self._product(graph, rows, row_scale=scales), self._bias)
