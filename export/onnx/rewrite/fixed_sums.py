"""Sums over an axis of fixed size as products with ones, which give a row the same bits in any batch.

ONNX Runtime's own sums add the numbers of a row in an order that depends on how many rows there are.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.onnx.graph import FLOAT, OnnxGraph

SUMS = ("ReduceSum", "ReduceMean")

Shapes = Mapping[str, tuple[int, list[Any]]]  # value -> dtype and axes, a number where it is fixed


def with_fixed_sums(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite a model, the bodies of its loops and branches too.

    Args:
        model: with the shapes of its values, as PyTorch's exporter writes them. Changed in place.

    Returns:
        The same model. Sums over an axis of free size, such as time, stay: padding would change their bits anyway.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    _rewrite(model.graph, "sums", constants)
    return model


def _rewrite(graph: onnx.GraphProto, prefix: str, constants: Mapping[str, onnx.TensorProto]) -> None:
    known = {**constants, **{tensor.name: tensor for tensor in graph.initializer}}
    shapes = {
        value.name: (
            value.type.tensor_type.elem_type,
            [axis.dim_value or axis.dim_param for axis in value.type.tensor_type.shape.dim],
        )
        for value in (*graph.value_info, *graph.input)
        if value.type.tensor_type.HasField("shape")
    }
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        own = f"{prefix}{index}."
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rewrite(attribute.g, own, known)
        piece = OnnxGraph(own)
        piece.prefix = own
        if node.op_type in SUMS and _is_rewritten(piece, node, shapes, known):
            proto = piece.graph_proto()
            nodes.extend(proto.node)
            graph.initializer.extend(proto.initializer)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _is_rewritten(
    piece: OnnxGraph, node: onnx.NodeProto, shapes: Shapes, constants: Mapping[str, onnx.TensorProto]
) -> bool:
    """Write a sum of float32 over one axis of fixed size, behind the first, into `piece`; False where it is another."""
    value = node.input[0]
    dtype, axes = shapes.get(value, (0, []))
    over = constants.get(node.input[1]) if len(node.input) > 1 else None
    if dtype != FLOAT or over is None:
        return False
    numbers = numpy_helper.to_array(over).reshape(-1).tolist()
    if len(numbers) != 1:
        return False
    axis = numbers[0] + (len(axes) if numbers[0] < 0 else 0)
    size = axes[axis] if 0 < axis < len(axes) else 0
    if not isinstance(size, int) or size < 1:
        return False
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    share = 1.0 if node.op_type == "ReduceSum" else 1.0 / size
    order = [*(number for number in range(len(axes)) if number != axis), axis]
    if axis != len(axes) - 1:
        value = piece.node("Transpose", value, perm=order)
    total = piece.node("MatMul", value, piece.constant(np.full((size, 1), share, np.float32)))
    if not attributes.get("keepdims", 1):
        total = piece.node("Squeeze", total, piece.constant(np.array([len(axes) - 1], np.int64)))
    elif axis != len(axes) - 1:
        total = piece.node("Transpose", total, perm=np.argsort(order).tolist())
    piece.rename(total, node.output[0])
    return True
