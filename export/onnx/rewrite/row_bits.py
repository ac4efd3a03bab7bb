"""Operators whose last bit depends, in ONNX Runtime, on how many rows a batch has, written so that it does not.

Functions of single numbers: some are computed in packets of several numbers, and those left at a tensor's end one by
one, with another approximation. So the numbers are made a multiple of a packet first. Sums over an axis of fixed size:
in which order a row's numbers are added depends on where in memory it begins. So they are products with ones.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from export.onnx.graph import FLOAT, OnnxGraph
from export.onnx.rewrite.nodes import Place, replace_nodes
from export.onnx.rewrite.pruning import prune

PACKET = 16  # numbers; the runtime's are smaller
# Found by comparing every such operator alone and among others (tests/export/onnx/rewrite/test_row_bits.py).
IN_PACKETS = frozenset(("Acos", "Asin", "Atan", "Celu", "Cos", "Elu", "Log", "Mish", "Selu", "Sin", "Softplus"))
SUMS = frozenset(("ReduceSum", "ReduceMean"))


def with_row_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite a model, the bodies of its loops and branches too.

    Args:
        model: with the shapes of its values, as PyTorch's exporter writes them. Changed in place.

    Returns:
        The same model. Sums over an axis of free size, such as time, stay: padding would change their bits anyway.
    """
    replace_nodes(model.graph, "bits", _replaced)
    return prune(model)


def _replaced(piece: OnnxGraph, node: onnx.NodeProto, place: Place) -> bool:
    if node.op_type in SUMS:
        return _is_product(piece, node, place)
    if node.op_type in IN_PACKETS:
        _padded(piece, node)
    return node.op_type in IN_PACKETS


def _padded(piece: OnnxGraph, node: onnx.NodeProto) -> None:
    """The numbers in a row, ones behind them up to a whole packet, and afterwards cut off."""
    (value,) = node.input
    zero = piece.constant(np.array([0], np.int64))
    flat = piece.node("Reshape", value, piece.constant(np.array([-1], np.int64)))
    count = piece.node("Shape", flat)
    missing = piece.node("Mod", piece.node("Neg", count), piece.constant(np.array([PACKET], np.int64)))
    one = piece.node("CastLike", piece.constant(np.float32(1)), flat)  # every one of them takes it
    padded = piece.node("Pad", flat, piece.node("Concat", zero, missing, axis=0), one)
    inner = onnx.NodeProto()
    inner.CopyFrom(node)
    inner.input[:], inner.output[:] = [padded], [piece.unique(node.op_type)]
    piece.take_node(inner)
    found = piece.node("Slice", inner.output[0], zero, count)
    piece.rename(piece.node("Reshape", found, piece.node("Shape", value), allowzero=1), node.output[0])


def _is_product(piece: OnnxGraph, node: onnx.NodeProto, place: Place) -> bool:
    """Write a sum of float32 over one axis of fixed size, behind the first, as a product; False: it is another sum."""
    value, *rest = node.input
    axes = place.shapes.get(value, [])
    over: list[int] = []
    if rest and rest[0] in place.constants:
        over = numpy_helper.to_array(place.constants[rest[0]]).reshape(-1).tolist()
    if place.dtypes.get(value) != FLOAT or len(over) != 1:
        return False
    axis = over[0] % max(1, len(axes))
    size = axes[axis] if axis > 0 else 0
    if not isinstance(size, int) or size < 1:
        return False
    keeps_axis = all(each.i for each in node.attribute if each.name == "keepdims")
    share = 1.0 if node.op_type == "ReduceSum" else 1.0 / size
    last = len(axes) - 1
    order = [*(number for number in range(len(axes)) if number != axis), axis]
    moved = value if axis == last else piece.node("Transpose", value, perm=order)
    total = piece.node("MatMul", moved, piece.constant(np.full((size, 1), share, np.float32)))
    if not keeps_axis:
        total = piece.node("Squeeze", total, piece.constant(np.array([last], np.int64)))
    elif axis != last:
        total = piece.node("Transpose", total, perm=np.argsort(order).tolist())
    piece.rename(total, node.output[0])
    return True
