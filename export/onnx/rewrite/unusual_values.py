"""Graphs that answer unusual inputs as PyTorch does: NaN, infinity, a batch of no rows; and unlikely probabilities.

ONNX Runtime's LSTM and GRU kernels clip what they put through sigmoid and tanh, and so lose a NaN; its largest,
smallest and sorted numbers pass over one. A batch without rows ends the process in them. So what is not finite goes
through the same equations written as products inside a Scan, which keep a NaN; the kernels do all else. A batch without
rows becomes one of a row whose results are cut off.
Equations: ONNX operators LSTM-14, GRU-14 (linear_before_reset = 1).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.onnx.graph import FLOAT, OnnxGraph
from export.onnx.rewrite.nodes import Place, replace_nodes
from export.onnx.rewrite.pruning import prune

_KERNELS = ("LSTM", "GRU")
# Past these names of a recurrent node's inputs: X, W, R, B, sequence_lens, initial_h, initial_c.
_LENGTHS = 4


def with_unusual_values(model: onnx.ModelProto, *, has_floats: bool) -> onnx.ModelProto:
    """Rewrite the main graph, and what passes over a NaN in the steps of its loops.

    Args:
        model: as export.user_module.trace made it: W, R and B constants, initial states given. Changed in place.
        has_floats: whether an input holds floats, which may be NaN or infinite; batches without rows are taken always.

    Returns:
        The same model.
    """
    replace_nodes(model.graph, "unusual", partial(_replaced, has_floats=has_floats))
    return prune(model)


def _replaced(piece: OnnxGraph, node: onnx.NodeProto, place: Place, *, has_floats: bool) -> bool:
    if node.op_type in _KERNELS:
        _recurrent(piece, node, has_floats=has_floats)
        return True
    if not node.input or place.dtypes.get(node.input[0]) != FLOAT:
        return False
    rewrite = _PASSING_OVER_NAN.get(node.op_type) if has_floats else None
    if not place.is_inside:
        rewrite = _INEXACT.get(node.op_type, rewrite)
    if rewrite is None:
        return False
    rewrite(piece, node)
    return True


def _recurrent(piece: OnnxGraph, node: onnx.NodeProto, *, has_floats: bool) -> None:
    """An LSTM or GRU node that takes no rows and, where has_floats, what is not finite."""
    inputs = [*node.input, *[""] * (7 - len(node.input))]
    values, lengths, states = inputs[0], inputs[_LENGTHS], [name for name in inputs[5:] if name]
    zero, one = (piece.constant(np.array([number], np.int64)) for number in (0, 1))
    shape = piece.node("Shape", values)
    batch = piece.node("Gather", shape, one, axis=0)
    # No first step, no answer, as in PyTorch: here the runtime says so, in its kernel it would end the process.
    time = piece.node("Gather", shape, zero, axis=0)
    no_time = helper.make_tensor("value", TensorProto.INT64, [1], [0])
    first = piece.node("Gather", piece.node("ConstantOfShape", time, value=no_time), zero, axis=0)
    num_added = piece.node("Add", piece.node("Max", piece.node("Sub", one, batch), zero), first)

    def padded(value: str, before: int, after: int, fill: str = "") -> str:
        edges = [*[zero] * before, num_added, *[zero] * after]
        pads = piece.node("Concat", *[zero] * (before + 1 + after), *edges, axis=0)
        return piece.node("Pad", value, pads, *([fill] if fill else []), mode="constant")

    rows = padded(values, 1, 1)
    row_lengths = padded(lengths, 0, 0, piece.constant(np.int32(1))) if lengths else ""
    row_states = [padded(state, 1, 1) for state in states]
    names = [name or None for name in node.output]
    found = [piece.unique(node.op_type) if name else "" for name in names]
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.input[:], copy.output[:]
    copy.input.extend([rows, *inputs[1:_LENGTHS], row_lengths, *row_states])
    copy.output.extend(found)
    piece.take_node(copy)
    if has_floats:
        kept = [value for value in found if value]
        exact = _if_not_finite(piece, copy, rows, row_lengths, row_states, found)
        found = [exact[kept.index(value)] if value else "" for value in found]
    for name, value, axis in zip(names, found, (2, 1, 1), strict=False):
        if name:
            piece.rename(piece.node("Slice", value, zero, batch, piece.constant(np.array([axis], np.int64))), name)


def _if_not_finite(
    piece: OnnxGraph, node: onnx.NodeProto, values: str, lengths: str, states: list[str], found: list[str]
) -> list[str]:
    """What a recurrent node gives, or where an input is not finite the same computed by products."""
    sums = [
        piece.node("ReduceSum", piece.node("Mul", value, piece.constant(np.float32(0))), keepdims=0)
        for value in (values, *states)
    ]
    total = piece.node("Sum", *sums)  # NaN if anything is not finite
    products = OnnxGraph(f"{piece.name}_products", parent=piece)
    for value, name in zip(_products(products, node, values, lengths, states), found, strict=False):
        if name:
            products.result(value, np.float32)
    kernel = OnnxGraph(f"{piece.name}_kernel", parent=piece)
    for name in found:
        if name:
            kernel.result(kernel.node("Identity", name), np.float32)
    return piece.nodes(
        "If",
        piece.node("IsNaN", total),
        outputs=sum(bool(name) for name in found),
        then_branch=products.graph_proto(),
        else_branch=kernel.graph_proto(),
    )


def _products(graph: OnnxGraph, node: onnx.NodeProto, values: str, lengths: str, states: list[str]) -> list[str]:
    """All outputs of a recurrent node: Y [time, directions, batch, hidden], states [directions, batch, hidden]."""
    weight, recurrent, bias = node.input[1:_LENGTHS]
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    direction = attributes.get("direction", b"forward")
    projected = graph.node("Einsum", values, weight, equation="tbi,dgi->dtbg")
    outputs, finals = [], []
    for number in range(2 if direction == b"bidirectional" else 1):
        at = graph.constant(np.int64(number))
        own = [graph.node("Gather", value, at, axis=0) for value in (projected, bias, *states)]
        is_reverse = number == 1 or direction == b"reverse"
        *final, output = _direction(graph, node.op_type, own, recurrent, at, lengths, is_reverse=is_reverse)
        outputs.append(graph.node("Unsqueeze", output, graph.constant(np.array([1], np.int64))))
        finals.append([graph.node("Unsqueeze", state, graph.constant(np.array([0], np.int64))) for state in final])
    joined = [outputs, *zip(*finals, strict=True)]
    return [graph.node("Concat", *parts, axis=int(index == 0)) for index, parts in enumerate(joined)]


def _direction(
    graph: OnnxGraph, kind: str, own: list[str], recurrent: str, at: str, lengths: str, *, is_reverse: bool
) -> list[str]:
    """One direction, of its own input products, bias and states: final states, then outputs [time, batch, hidden]."""
    projected, bias, *states = own
    input_bias, state_bias = graph.nodes("Split", bias, outputs=2, axis=0, num_outputs=2)
    scanned = [graph.node("Add", projected, input_bias)]
    body = OnnxGraph(f"{graph.name}_step", parent=graph)
    before = [body.input(body.unique("state"), np.float32, None) for _ in states]
    step = body.input(body.unique("projected"), np.float32, None)
    product = body.node("Einsum", before[0], recurrent, equation="bh,dgh->dbg")
    product = body.node("Add", body.node("Gather", product, at, axis=0), state_bias)
    after = _CELLS[kind](body, step, product, before)
    output = after[0]
    if lengths:
        size = graph.node("Squeeze", graph.node("Shape", projected, start=0, end=1))
        int32 = {"to": int(TensorProto.INT32)}
        ends = graph.node("Cast", size, **int32)
        scanned.append(graph.node("Range", graph.constant(np.int32(0)), ends, graph.constant(np.int32(1))))
        position = body.input(body.unique("position"), np.int32, [])
        column = body.node("Unsqueeze", lengths, graph.constant(np.array([1], np.int64)))
        is_valid = body.node("Less", position, column)
        output = body.node("Where", is_valid, output, graph.constant(np.float32(0)))
        after = [body.node("Where", is_valid, new, old) for new, old in zip(after, before, strict=True)]
    for value in (*after, output):
        body.output(value, body.unique("result"), np.float32, None)
    return graph.nodes(
        "Scan",
        *states,
        *scanned,
        outputs=len(states) + 1,
        body=body.graph_proto(),
        num_scan_inputs=len(scanned),
        scan_input_directions=[int(is_reverse)] * len(scanned),
        scan_output_directions=[int(is_reverse)],
    )


def _lstm(body: OnnxGraph, step: str, product: str, before: list[str]) -> list[str]:
    i, o, f, c = body.nodes("Split", body.node("Add", step, product), outputs=4, axis=1, num_outputs=4)
    i, o, f = (body.node("Sigmoid", gate) for gate in (i, o, f))
    cell = body.node("Add", body.node("Mul", f, before[1]), body.node("Mul", i, body.node("Tanh", c)))
    return [body.node("Mul", o, body.node("Tanh", cell)), cell]


def _gru(body: OnnxGraph, step: str, product: str, before: list[str]) -> list[str]:
    (xz, xr, xn), (hz, hr, hn) = (
        body.nodes("Split", value, outputs=3, axis=1, num_outputs=3) for value in (step, product)
    )
    z, r = (body.node("Sigmoid", body.node("Add", x, h)) for x, h in ((xz, hz), (xr, hr)))
    new = body.node("Tanh", body.node("Add", xn, body.node("Mul", r, hn)))
    return [body.node("Add", body.node("Mul", body.node("Sub", before[0], new), z), new)]


_CELLS: dict[str, Callable[[OnnxGraph, str, str, list[str]], list[str]]] = {"LSTM": _lstm, "GRU": _gru}


def _is_nan(piece: OnnxGraph, value: str) -> str:
    """1 where a value is NaN, else 0, float32."""
    return piece.node("Cast", piece.node("IsNaN", value), to=FLOAT)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _with_nan(piece: OnnxGraph, node: onnx.NodeProto, operator: str) -> None:
    """A largest or smallest: NaN where one of its numbers is."""
    value, *rest = node.input
    attributes = _attributes(node)
    is_any = piece.node("Greater", piece.node(operator, _is_nan(piece, value), *rest, **attributes), _half(piece))
    found = piece.node(node.op_type, value, *rest, **attributes)
    piece.rename(piece.node("Where", is_any, piece.constant(np.float32(np.nan)), found), node.output[0])


def _position(piece: OnnxGraph, node: onnx.NodeProto) -> None:
    """The position of the largest or smallest: that of the first NaN where there is one."""
    (value,) = node.input
    attributes = _attributes(node)
    keep = {"keepdims": attributes.get("keepdims", 1)}
    axis = piece.constant(np.array([attributes.get("axis", 0)], np.int64))
    is_nan = _is_nan(piece, value)
    is_any = piece.node("Greater", piece.node("ReduceMax", is_nan, axis, **keep), _half(piece))
    first = piece.node("ArgMax", is_nan, **{**attributes, "select_last_index": 0})
    found = piece.node(node.op_type, value, **attributes)
    piece.rename(piece.node("Where", is_any, first, found), node.output[0])


def _sorted(piece: OnnxGraph, node: onnx.NodeProto) -> None:
    """Sorted numbers: a NaN is the largest of all, before infinity, for which float64 has room."""
    value, count = node.input
    attributes = _attributes(node)
    infinity, below = piece.constant(np.float64(np.inf)), piece.constant(np.float64(1e300))
    is_infinite = piece.node("Equal", value, piece.constant(np.float32(np.inf)))
    key = piece.node("Where", is_infinite, below, piece.node("Cast", value, to=TensorProto.DOUBLE))
    key = piece.node("Where", piece.node("IsNaN", value), infinity, key)
    _, places = piece.nodes("TopK", key, count, outputs=2, **attributes)
    for name, found in zip(node.output, (None, places), strict=False):
        if name:
            values = piece.node("GatherElements", value, places, axis=attributes.get("axis", -1))
            piece.rename(found or values, name)


def _sigmoid(piece: OnnxGraph, node: onnx.NodeProto) -> None:
    """1 / (1 + exp(-x)): the runtime's own is 3e-8 off at every magnitude, so a probability of 1e-4 loses digits."""
    one = piece.constant(np.float32(1))
    power = piece.node("Exp", piece.node("Neg", node.input[0]))
    piece.rename(piece.node("Div", one, piece.node("Add", one, power)), node.output[0])


def _mean(piece: OnnxGraph, node: onnx.NodeProto) -> None:
    """A sum by a count: a mean of nothing is NaN, which the runtime's own is not."""
    value, *axes = node.input
    total = piece.node("ReduceSum", value, *axes, **_attributes(node))
    sizes = piece.node("Shape", value)
    count = piece.node("ReduceProd", piece.node("Gather", sizes, axes[0]) if axes else sizes, keepdims=0)
    piece.rename(piece.node("Div", total, piece.node("Cast", count, to=FLOAT)), node.output[0])


def _half(piece: OnnxGraph) -> str:
    return piece.constant(np.float32(0.5))


def _largest(piece: OnnxGraph, node: onnx.NodeProto) -> None:
    _with_nan(piece, node, node.op_type.replace("Min", "Max"))


def _pooled(piece: OnnxGraph, node: onnx.NodeProto) -> None:
    if len([name for name in node.output if name]) > 1:
        piece.take_node(node)
    else:
        _with_nan(piece, node, node.op_type)


_INEXACT: dict[str, Callable[[OnnxGraph, onnx.NodeProto], None]] = {"Sigmoid": _sigmoid, "ReduceMean": _mean}
_PASSING_OVER_NAN: dict[str, Callable[[OnnxGraph, onnx.NodeProto], None]] = {
    "ReduceMax": _largest,
    "ReduceMin": _largest,
    "ArgMax": _position,
    "ArgMin": _position,
    "TopK": _sorted,
    "MaxPool": _pooled,
    "GlobalMaxPool": _largest,
}
