"""The weight matrices inside a graph, whichever operator holds them, as [outputs, inputs]."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.parity.diagnosis.graph import Graph, attribute

_RECURRENT = ("LSTM", "GRU", "RNN")
_INT8_EMBEDDING_ZERO = 128


@dataclass(frozen=True)
class Product:
    """A weight that a node holds.

    Attributes:
        where: the node, for messages.
        matrix: [outputs, inputs]; of a table of token rows [tokens, width].
        is_quantized: integers, each row with a scale of its own.
        is_table: rows are looked up in it.
    """

    where: str
    matrix: NDArray[Any]
    is_quantized: bool = False
    is_table: bool = False


def products(graph: Graph) -> Iterator[Product]:
    """Every constant matrix of at least two rows and columns that a node multiplies with or looks rows up in."""
    for node in graph.nodes:
        for product in _of_node(graph, node):
            if product.matrix.ndim == 2 and min(product.matrix.shape) > 1:
                yield product


def _of_node(graph: Graph, node: onnx.NodeProto) -> Iterator[Product]:
    where = graph.where(node)
    if node.op_type in _RECURRENT:
        for name, what in ((node.input[1], "input"), (node.input[2], "recurrent")):
            weight = graph.constant(name)
            for direction, matrix in enumerate(weight if weight is not None else ()):
                yield Product(f"the {what} weight{' backward' if direction else ''} of {where}", matrix)
    elif node.op_type in ("MatMul", "Gemm", "MatMulInteger"):
        weight = graph.constant(node.input[1])
        if weight is not None and weight.ndim == 2:
            is_transposed = node.op_type == "Gemm" and attribute(node, "transB", 0) == 1
            yield Product(
                f"the weight of {where}", weight if is_transposed else weight.T, node.op_type == "MatMulInteger"
            )
    elif node.op_type == "Gather":
        table = graph.constant(node.input[0])
        if table is not None and table.ndim == 2:
            is_quantized = table.dtype == np.uint8
            rows = table.astype(np.int16) - _INT8_EMBEDDING_ZERO if is_quantized else table
            yield Product(f"the table of {where}", rows, is_quantized, is_table=True)
