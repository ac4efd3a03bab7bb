"""The gpu-fp16 graphs with their rounding made of float32 operators, to see on a CPU what float16 does to answers.

ONNX Runtime's CPU provider has no float16 products: it computes them in float32 and drops the casts around them, so a
run of the files themselves shows nothing of the rounding. Here every value that is float16 in the file is rounded to
its 11 significant bits by Veltkamp's splitting (Dekker 1971), and sums are float32, as tensor cores make them. The
range is not emulated: below 6e-5 float16 is coarser still, above 65504 it ends.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SPLITTER = "half_emulated.splitter"
_PRODUCTS = ("MatMul", "Gemm")


def half_emulated(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite the main graph.

    Args:
        model: as export.onnx.rewrite.half_products made it, its weights inside. Changed in place.

    Returns:
        The same model, every computed value float32.
    """
    graph = model.graph
    halves = [tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT16]
    for tensor in halves:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    graph.initializer.append(numpy_helper.from_array(np.array(2**13 + 1, np.float32), _SPLITTER))
    is_half = {tensor.name for tensor in halves}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        becomes_half = node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT16
        if becomes_half or (node.op_type in _PRODUCTS and is_half.intersection(node.input)):
            result = node.output[0]
            exact = node.input[0]
            if not becomes_half:
                exact = node.output[0] = f"{result}.exact"
                nodes.append(node)
            nodes.extend(_rounding(exact, result))
            is_half.add(result)
        else:
            nodes.append(node)
            if node.op_type == "Gather" and node.input[0] in is_half:
                is_half.add(node.output[0])
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return model


def _rounding(value: str, result: str) -> list[onnx.NodeProto]:
    """The value rounded to 24 - 13 significant bits: t = (2^13 + 1) x, t - (t - x)."""
    wide, rest = f"{result}.wide", f"{result}.rest"
    return [
        helper.make_node("Mul", [value, _SPLITTER], [wide], name=f"{result}.split"),
        helper.make_node("Sub", [wide, value], [rest], name=f"{result}.low"),
        helper.make_node("Sub", [wide, rest], [result], name=f"{result}.high"),
    ]
