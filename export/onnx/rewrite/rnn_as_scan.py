"""ONNX RNN nodes rewritten as Gemm-shaped products and an activation inside a Scan.

ONNX Runtime's RNN kernel gives a row other bits in another batch (its products change with the batch's size) and is
slower; a MatMul and a Tanh or Relu do not. LSTM and GRU nodes are left alone: their kernels keep the promise.
The input products of all time steps are one MatMul before the Scan.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from export.onnx.graph import OnnxGraph
from export.onnx.rewrite.pruning import prune


def rnn_as_scan(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite every RNN node of the main graph.

    Args:
        model: as export.trace made it: W, R and B constants, initial_h given. Changed in place.

    Returns:
        The same model.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    time_of = {value.name: value.type.tensor_type.shape.dim for value in (*graph.value_info, *graph.input)}
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        if node.op_type != "RNN":
            nodes.append(node)
            continue
        first_axis = time_of.get(node.input[0])
        is_one_step = first_axis is not None and len(first_axis) > 0 and first_axis[0].dim_value == 1
        piece = _rewritten(node, constants, f"rnn{index}", is_one_step=is_one_step)
        nodes.extend(piece.node)
        graph.initializer.extend(piece.initializer)
    del graph.node[:]
    graph.node.extend(nodes)
    return prune(model)


def _rewritten(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], prefix: str, *, is_one_step: bool
) -> onnx.GraphProto:
    value, weight_name, recurrent_name, bias_name, lengths, initial = node.input
    weight, recurrent, bias = (
        numpy_helper.to_array(constants[name]) for name in (weight_name, recurrent_name, bias_name)
    )
    attributes = {attribute.name: attribute for attribute in node.attribute}
    activations = [b.decode() for b in attributes["activations"].strings] if "activations" in attributes else []
    piece = OnnxGraph(prefix)
    piece.prefix = f"{prefix}."
    outputs, finals = [], []
    for direction in range(weight.shape[0]):
        activation = activations[direction] if activations else "Tanh"
        projected = piece.node("MatMul", value, piece.constant(weight[direction].T.copy()))
        input_bias, state_bias = np.split(bias[direction], 2)
        projected = piece.node("Add", projected, piece.constant(input_bias + state_bias))
        before = piece.node("Gather", initial, piece.constant(np.int64(direction)), axis=0)
        weight_of_state = piece.constant(recurrent[direction].T.copy())
        zero_axis = piece.constant(np.array([0], np.int64))
        if is_one_step and not lengths:
            total = piece.node(
                "Add", piece.node("Squeeze", projected, zero_axis), piece.node("MatMul", before, weight_of_state)
            )
            final = piece.node(activation, total)
            output = piece.node("Unsqueeze", final, zero_axis)
        else:
            final, output = _scan(
                piece, projected, before, weight_of_state, lengths, activation, is_reverse=direction == 1
            )
        finals.append(piece.node("Unsqueeze", final, zero_axis))
        outputs.append(piece.node("Unsqueeze", output, piece.constant(np.array([1], np.int64))))
    # A result that nobody takes has no name, and the last ones may be left out altogether.
    names = [*node.output, ""][:2]
    for pieces, name, axis in ((outputs, names[0], 1), (finals, names[1], 0)):
        if name:
            piece.rename(piece.node("Concat", *pieces, axis=axis) if len(pieces) > 1 else pieces[0], name)
    return piece.graph_proto()


def _scan(
    piece: OnnxGraph, projected: str, before: str, weight: str, lengths: str, activation: str, *, is_reverse: bool
) -> tuple[str, str]:
    """One direction. Past a row's length its state is kept and its output is zero.

    Returns:
        final [batch, hidden], outputs [time, batch, hidden].
    """
    body = OnnxGraph(f"{piece.name}_step", parent=piece)
    state = body.input(body.unique("state"), np.float32, None)
    scanned = [projected]
    inputs = [body.input(body.unique("projected"), np.float32, None)]
    new = body.node(activation, body.node("Add", inputs[0], body.node("MatMul", state, weight)))
    output = new
    if lengths:
        length_column = piece.node("Unsqueeze", lengths, piece.constant(np.array([1], np.int64)))
        time = piece.node("Gather", piece.node("Shape", projected), piece.constant(np.int64(0)))
        time = piece.node("Cast", time, to=int(onnx.TensorProto.INT32))
        scanned.append(piece.node("Range", piece.constant(np.int32(0)), time, piece.constant(np.int32(1))))
        position = body.input(body.unique("position"), np.int32, [])
        is_valid = body.node("Less", position, length_column)
        output = body.node("Where", is_valid, new, piece.constant(np.float32(0)))
        new = body.node("Where", is_valid, new, state)
    body.output(new, body.unique("new_state"), np.float32, None)
    body.output(output, body.unique("output"), np.float32, None)
    final, outputs = piece.nodes(
        "Scan",
        before,
        *scanned,
        outputs=2,
        body=body.graph_proto(),
        num_scan_inputs=len(scanned),
        scan_input_directions=[int(is_reverse)] * len(scanned),
        scan_output_directions=[int(is_reverse)],
    )
    return final, outputs
