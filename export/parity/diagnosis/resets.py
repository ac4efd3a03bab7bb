"""A GRU whose reset gate stands in the wrong place: ONNX's default is not what PyTorch computes.

PyTorch: h~ = tanh(W x + r * (R h + b)). ONNX without linear_before_reset: h~ = tanh(W x + R (r * h) + b), Cho et al.
"""

from collections.abc import Iterator

from export.parity.diagnosis.graph import Graph, attribute


def misplaced_resets(graph: Graph) -> Iterator[str]:
    """A sentence for each GRU node without linear_before_reset = 1."""
    for node in graph.nodes:
        if node.op_type == "GRU" and attribute(node, "linear_before_reset", 0) != 1:
            yield (
                f"{graph.where(node)} misses linear_before_reset=1: its reset gate is applied before the recurrent "
                "product, PyTorch's after it"
            )
