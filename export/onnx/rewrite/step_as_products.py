"""One-step LSTM, GRU and RNN nodes rewritten as products and activations, for a GPU.

A recurrent operator of one time step is still a loop inside TensorRT, and ONNX Runtime prepares it on the host at every
call; neither fits a CUDA graph. Gemm, Sigmoid and Tanh do. Nodes over more than one step stay.
Equations: ONNX operators LSTM-14, GRU-14 (linear_before_reset = 1), RNN-14.
"""

from collections.abc import Callable, Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from export.onnx.graph import OnnxGraph
from export.onnx.rewrite.pruning import prune

Floats = NDArray[np.float32]


def step_as_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite every recurrent node of one time step and one direction in the main graph.

    Lengths of one step are all 1, because a length is at least 1, and go.

    Args:
        model: as export.trace made it: W, R and B constants, initial states given. Changed in place.

    Returns:
        The same model.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*graph.value_info, *graph.input)}
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        if node.op_type not in _CELLS or not _is_one_step(node, shapes):
            nodes.append(node)
            continue
        arrays = [numpy_helper.to_array(constants[name])[0] for name in node.input[1:4]]
        piece = _rewritten(node, arrays, f"cell{index}")
        nodes.extend(piece.node)
        graph.initializer.extend(piece.initializer)
    del graph.node[:]
    graph.node.extend(nodes)
    _skip_undone_views(graph)
    return prune(model)


def _is_one_step(node: onnx.NodeProto, shapes: "dict[str, Iterable[onnx.TensorShapeProto.Dimension]]") -> bool:
    axes = list(shapes.get(node.input[0], ()))
    direction = {attribute.name: attribute.s for attribute in node.attribute}.get("direction", b"forward")
    return bool(axes) and axes[0].dim_value == 1 and direction == b"forward"


def _rewritten(node: onnx.NodeProto, arrays: list[Floats], prefix: str) -> onnx.GraphProto:
    piece = OnnxGraph(prefix)
    piece.prefix = f"{prefix}."
    axis = piece.constant(np.array([0], np.int64))
    value, *states = (piece.node("Squeeze", name, axis) for name in (node.input[0], *node.input[5:]))
    activations = {attribute.name: attribute.strings for attribute in node.attribute}.get("activations", [b"Tanh"])
    after = _CELLS[node.op_type](piece, value, states, arrays, activations[0].decode())
    rows = [piece.node("Unsqueeze", state, axis) for state in after]
    outputs = piece.node("Unsqueeze", rows[0], piece.constant(np.array([1], np.int64)))
    for name, result in zip(node.output, (outputs, *rows), strict=False):
        if name:
            piece.rename(result, name)
    return piece.graph_proto()


def _lstm(piece: OnnxGraph, value: str, states: list[str], arrays: list[Floats], _: str) -> list[str]:
    """Gates in ONNX order: i, o, f, c."""
    hidden, cell = states
    gates = _joined(piece, value, hidden, arrays)
    size = arrays[1].shape[1]
    sigmoids, candidate = piece.split(gates, [3 * size, size])
    i, o, f = piece.split(piece.node("Sigmoid", sigmoids), [size] * 3)
    fresh = piece.node("Mul", i, piece.node("Tanh", candidate))
    new_cell = piece.node("Add", piece.node("Mul", f, cell), fresh)
    return [piece.node("Mul", o, piece.node("Tanh", new_cell)), new_cell]


def _gru(piece: OnnxGraph, value: str, states: list[str], arrays: list[Floats], _: str) -> list[str]:
    """Gates in ONNX order: z, r, h. The reset gate multiplies the recurrent product, its bias included."""
    hidden = states[0]
    size = arrays[1].shape[1]
    input_bias, state_bias = np.split(arrays[2], 2)
    from_input = _product(piece, value, arrays[0], input_bias)
    from_state = _product(piece, hidden, arrays[1], state_bias)
    input_zr, input_n = piece.split(from_input, [2 * size, size])
    state_zr, state_n = piece.split(from_state, [2 * size, size])
    z, r = piece.split(piece.node("Sigmoid", piece.node("Add", input_zr, state_zr)), [size] * 2)
    n = piece.node("Tanh", piece.node("Add", input_n, piece.node("Mul", r, state_n)))
    # h = (1 - z) n + z h = n + z (h - n)
    return [piece.node("Add", n, piece.node("Mul", z, piece.node("Sub", hidden, n)))]


def _rnn(piece: OnnxGraph, value: str, states: list[str], arrays: list[Floats], activation: str) -> list[str]:
    return [piece.node(activation, _joined(piece, value, states[0], arrays))]


_CELLS: dict[str, Callable[[OnnxGraph, str, list[str], list[Floats], str], list[str]]] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN": _rnn,
}


def _joined(piece: OnnxGraph, value: str, hidden: str, arrays: list[Floats]) -> str:
    """W x + R h + b as one product over [x, h]."""
    input_bias, state_bias = np.split(arrays[2], 2)
    weight = np.concatenate(arrays[:2], axis=1)
    return _product(piece, piece.node("Concat", value, hidden, axis=1), weight, input_bias + state_bias)


def _product(piece: OnnxGraph, value: str, weight: Floats, bias: Floats) -> str:
    """Float32 [batch, columns] times weight [rows, columns] -> [batch, rows]."""
    return piece.node("Gemm", value, piece.constant(np.ascontiguousarray(weight.T), "weight"), piece.constant(bias))


def _skip_undone_views(graph: onnx.GraphProto) -> None:
    """Name the value itself where an axis of size 1 is added (and moved) and taken away again: fewer kernels a step."""
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}

    def axes(node: onnx.NodeProto) -> list[int]:
        is_known = len(node.input) > 1 and node.input[1] in arrays
        return numpy_helper.to_array(arrays[node.input[1]]).tolist() if is_known else []

    def source(name: str) -> str:
        """What an Identity copies."""
        node = makers.get(name)
        if node is not None and node.op_type == "Identity":
            return source(node.input[0])
        return name

    def added_axis(name: str) -> tuple[str, list[int]] | None:
        """(value, axes) where the name is the value with axes added; batch-major made time-major is one of them."""
        node = makers.get(source(name))
        if node is None:
            return None
        if node.op_type == "Unsqueeze":
            return node.input[0], axes(node)
        permutation = next((list(a.ints) for a in node.attribute if a.name == "perm"), None)
        inner = added_axis(node.input[0]) if node.op_type == "Transpose" and permutation == [1, 0, 2] else None
        if inner is not None and inner[1] in ([0], [1]):
            return inner[0], [1 - inner[1][0]]
        return None

    instead: dict[str, str] = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = instead.get(name, name)
        if node.op_type == "Squeeze":
            found = added_axis(node.input[0])
            if found is not None and found[1] == axes(node) != []:
                instead[node.output[0]] = source(found[0])
