"""LSTM and GRU nodes of traced graphs rewritten as the quantised cells of export.onnx.int8; all else stays in float32.

A hidden state lies in [-1, 1], so its scale needs no data. A layer that reads another one's hidden states has its input
product in integers, too; any other input, whose range nobody knows, is multiplied in float32, for all time steps in one
MatMul before the loop. Nodes whose weights are not constants, or that were given no state to begin from, stay.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from export.onnx.graph import OnnxGraph
from export.onnx.int8.cells import CellWeights, InputTerm, QuantizedCell, input_bias
from export.onnx.int8.linear import TANH_EDGE, Floats, QuantizedLinear, quantize
from export.onnx.int8.scan import Clock
from export.onnx.rewrite.pruning import prune
from models.cells import cell_of

_KINDS = {"LSTM": "lstm", "GRU": "gru"}
_RECURRENT_INPUTS = 7  # X, W, R, B, sequence_lens, initial_h, initial_c
_MOVED = ("Squeeze", "Transpose", "Reshape", "Identity")  # what leaves hidden states as they are


def recurrent_as_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite every LSTM and GRU node of the main graph.

    Args:
        model: as export.trace made it. Changed in place.

    Returns:
        The same model; one without such nodes is as it was.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*graph.value_info, *graph.input)}
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        if not _is_ours(node, constants):
            nodes.append(node)
            continue
        time = list(shapes.get(node.input[0], ()))[:1]
        piece = _rewritten(
            node,
            constants,
            f"int8_{index}",
            reads_states=_reads_states(node.input[0], makers, constants),
            is_one_step=bool(time) and time[0].dim_value == 1,
        )
        nodes.extend(piece.node)
        graph.initializer.extend(piece.initializer)
    del graph.node[:]
    graph.node.extend(nodes)
    return prune(model)


def _is_ours(node: onnx.NodeProto, constants: "dict[str, onnx.TensorProto]") -> bool:
    if node.op_type not in _KINDS or not all(name in constants for name in node.input[1:4]):
        return False
    attributes = {attribute.name: attribute for attribute in node.attribute}
    is_plain = "activations" not in attributes and "clip" not in attributes
    resets = node.op_type != "GRU" or ("linear_before_reset" in attributes and attributes["linear_before_reset"].i == 1)
    wanted = _RECURRENT_INPUTS if node.op_type == "LSTM" else _RECURRENT_INPUTS - 1
    return is_plain and resets and len(node.input) == wanted and all(node.input[5:])


def _reads_states(name: str, makers: "dict[str, onnx.NodeProto]", constants: "dict[str, onnx.TensorProto]") -> bool:
    """Whether a value is the hidden states that another of our nodes gives, moved about at most."""
    node = makers.get(name)
    while node is not None and node.op_type in _MOVED:
        name = node.input[0]
        node = makers.get(name)
    return node is not None and _is_ours(node, constants) and name == node.output[0]


class _FloatTerm:
    """What an input of unknown range adds to the gates: a product in float32."""

    def __init__(self, graph: OnnxGraph, weight: Floats, bias: Floats) -> None:
        self._weight = graph.constant(np.ascontiguousarray(weight.T), "input_weight")
        self._bias = graph.constant(bias, "input_bias")

    def __call__(self, graph: OnnxGraph, value: str, /) -> str:
        """Float32 [..., input] -> float32 [..., gates * hidden]."""
        return graph.node("Add", graph.node("MatMul", value, self._weight), self._bias)


def _rewritten(
    node: onnx.NodeProto,
    constants: "dict[str, onnx.TensorProto]",
    prefix: str,
    *,
    reads_states: bool,
    is_one_step: bool,
) -> onnx.GraphProto:
    kind = _KINDS[node.op_type]
    arrays = [numpy_helper.to_array(constants[name]) for name in node.input[1:4]]
    value, lengths, initial = node.input[0], node.input[4], list(node.input[5:])
    begins_reversed = any(a.name == "direction" and a.s == b"reverse" for a in node.attribute)
    piece = OnnxGraph(prefix)
    piece.prefix = f"{prefix}."
    first, second = (piece.constant(np.array([axis], np.int64)) for axis in (0, 1))
    if reads_states:
        value = quantize(piece, value, TANH_EDGE)
    clock = Clock(piece, value, lengths) if lengths and not is_one_step else None
    outputs: list[str] = []
    finals: list[list[str]] = []
    for direction in range(len(arrays[0])):
        weights = _weights(kind, [array[direction] for array in arrays])
        cell = _cell(piece, kind, weights, reads_states=reads_states)
        before = [piece.node("Gather", name, piece.constant(np.int64(direction)), axis=0) for name in initial]
        if is_one_step:
            after = _step(piece, cell, before, value, first, reads_states=reads_states)
            output = piece.node("Unsqueeze", after[0], first)
        else:
            after, output = _scan(piece, cell, before, value, clock, is_reverse=begins_reversed or direction == 1)
        outputs.append(piece.node("Unsqueeze", output, second))
        finals.append([piece.node("Unsqueeze", state, first) for state in after])
    joined = [(outputs, 1), *((list(part), 0) for part in zip(*finals, strict=True))]
    for (pieces, axis), name in zip(joined, node.output, strict=False):
        if name:
            piece.rename(piece.node("Concat", *pieces, axis=axis) if len(pieces) > 1 else pieces[0], name)
    return piece.graph_proto()


def _weights(kind: str, arrays: list[Floats]) -> CellWeights:
    """Of one direction: W, R and B with ONNX's gates -> in the order that the cells expect."""
    cell = cell_of(kind)
    order = [cell.onnx_gates.index(gate) for gate in cell.gates]

    def ordered(array: Floats) -> Floats:
        blocks = np.split(array, len(order))
        found: Floats = np.concatenate([blocks[gate] for gate in order])
        return found

    input_weight, recurrent, bias = arrays
    biases = [ordered(half) for half in np.split(bias, 2)]
    return CellWeights(ordered(input_weight), ordered(recurrent), *biases).reordered(kind)


def _cell(piece: OnnxGraph, kind: str, weights: CellWeights, *, reads_states: bool) -> QuantizedCell:
    term: InputTerm | None = None
    bias = input_bias(kind, weights)
    if not reads_states:
        term = _FloatTerm(piece, weights.input, bias)
    elif kind == "gru":
        term = QuantizedLinear(piece, weights.input.T, bias, [(TANH_EDGE, weights.input.shape[1])])
    return QuantizedCell(piece, kind, weights, edge=TANH_EDGE, input_term=term, is_first=False)


def _step(
    piece: OnnxGraph, cell: QuantizedCell, before: list[str], values: str, first: str, *, reads_states: bool
) -> list[str]:
    """The states after the one time step of values [1, batch, input]."""
    if reads_states:
        return cell(piece, piece.node("Squeeze", values, first), before)
    # A product of two axes would be joined with its bias, and be summed in another order than that of a sequence.
    return cell.rest(piece, piece.node("Squeeze", cell.ahead(piece, values), first), before)


def _scan(
    piece: OnnxGraph, cell: QuantizedCell, before: list[str], values: str, clock: Clock | None, *, is_reverse: bool
) -> tuple[list[str], str]:
    """One direction. Past a row's length its state is kept and its output is zero.

    Returns:
        The states after each row's last step, and float32 outputs [time, batch, hidden].
    """
    scanned = [cell.ahead(piece, values), *([clock.positions] if clock else [])]
    body = OnnxGraph(f"{piece.name}_step", parent=piece)
    states = [body.input(body.unique("state"), np.float32, None) for _ in before]
    prepared = body.input(body.unique("prepared"), cell.prepared_dtype, None)
    after = cell.rest(body, prepared, states)
    output = after[0]
    if clock:
        is_running = clock.is_running(body, body.input(body.unique("position"), np.int32, []))
        output = body.node("Where", is_running, output, piece.constant(np.float32(0)))
        after = [body.node("Where", is_running, new, old) for new, old in zip(after, states, strict=True)]
    for state in after:
        body.output(state, body.unique("new_state"), np.float32, None)
    body.output(output, body.unique("output"), np.float32, None)
    results = piece.nodes(
        "Scan",
        *before,
        *scanned,
        outputs=len(before) + 1,
        body=body.graph_proto(),
        num_scan_inputs=len(scanned),
        scan_input_directions=[int(is_reverse)] * len(scanned),
        scan_output_directions=[int(is_reverse)],
    )
    return results[:-1], results[-1]
