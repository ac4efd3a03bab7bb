"""Functions of single numbers that give a number the same bits wherever it stands in a tensor.

ONNX Runtime computes some of them in packets of several numbers and those left at the tensor's end one by one, with
another approximation: the last bit of an answer would depend on how many rows the batch has. So the numbers are made a
multiple of a packet's first.
"""

import numpy as np
import onnx

from export.onnx.graph import OnnxGraph

PACKET = 16  # numbers; the runtime's are smaller
# Found by comparing every such operator alone and among others (tests/export/onnx/rewrite/test_whole_packets.py).
IN_PACKETS = frozenset(("Acos", "Asin", "Atan", "Celu", "Cos", "Elu", "Log", "Mish", "Selu", "Sin", "Softplus"))


def with_whole_packets(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite a model, the bodies of its loops and branches too.

    Args:
        model: changed in place.

    Returns:
        The same model.
    """
    _rewrite(model.graph, "packets")
    return model


def _rewrite(graph: onnx.GraphProto, prefix: str) -> None:
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        own = f"{prefix}{index}."
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rewrite(attribute.g, own)
        if node.op_type not in IN_PACKETS:
            nodes.append(node)
            continue
        piece = OnnxGraph(own)
        piece.prefix = own
        _padded(piece, node)
        proto = piece.graph_proto()
        nodes.extend(proto.node)
        graph.initializer.extend(proto.initializer)
    del graph.node[:]
    graph.node.extend(nodes)


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
    shape = piece.node("Shape", value)
    piece.rename(piece.node("Reshape", found, shape, allowzero=1), node.output[0])
