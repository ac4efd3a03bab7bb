"""Attention and masks as ONNX nodes, in float32: the functions of models.network.attention, node for node."""

import numpy as np
import onnx

from export.onnx.graph import OnnxGraph

MASKED = -1e9  # as models.network.attention's


def validity(graph: OnnxGraph, values: str, lengths: str) -> str:
    """Bool [batch, time]: which positions of values [batch, time, ...] lie before the row's length."""
    time = graph.node("Gather", graph.node("Shape", values), graph.constant(np.int64(1)))
    time = graph.node("Cast", time, to=int(onnx.TensorProto.INT32))
    positions = graph.node("Range", graph.constant(np.int32(0)), time, graph.constant(np.int32(1)))
    return graph.node("Less", positions, graph.node("Unsqueeze", lengths, graph.constant(np.array([1], np.int64))))


def attention_weights(graph: OnnxGraph, scores: str, is_valid: str) -> str:
    """Softmax of scores [batch, 1, time] over the valid positions, bool [batch, time]."""
    mask = graph.node("Unsqueeze", is_valid, graph.constant(np.array([1], np.int64)))
    masked = graph.node("Where", mask, scores, graph.constant(np.float32(MASKED)))
    return graph.node("Softmax", masked, axis=-1)
