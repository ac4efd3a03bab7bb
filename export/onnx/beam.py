"""From a translator's `step` graph to `decode_beam`: several steps of beam search in one runtime call.

An ONNX Scan whose body is the step for the W rows of each of B searches, and the choice of the rows that go on. All
searches of a call have the same W. Whatever ends a search (models.decoding.beam_search) stays outside: the loop goes on
with the W best continuations that do not end, and gives what is needed to follow it step by step.

The 2 W best continuations of a search are enough: of W rows at most W continuations end, and the search stops at the
(W + 1)th best of those that do not. They are found in two levels, blocks of tokens first: the 2 W best tokens lie in
the 2 W blocks whose best are best. Of equal ones the lower row, then the lower token comes first: TopK takes the lower
index first, so the blocks are put in order before the second level.

A search has one memory, which all its rows read. Where the step multiplies a row's numbers by it (MatMul by the memory,
the keys or either transposed), the rows of a search are multiplied together, so that the memory is read once; where it
does something else, the memory is repeated for each row, once a call.
"""

import numpy as np
import onnx

from export.onnx.graph import OnnxGraph
from export.onnx.loop import carried, renamed, width_of
from models.decoding.inverse_cdf import BLOCK

_DOUBLE = int(onnx.TensorProto.DOUBLE)
_RANK = 3  # of memories


def beam_decode(step: onnx.ModelProto, end_id: int) -> onnx.ModelProto:
    """`decode_beam` of a translator's step.

    Args:
        step: token, state, memory, keys, lengths -> logits, new_state, attention.
        end_id: the end token's id.

    Returns:
        token int64 [B, W], state float32 [B, W, D], memory, keys, lengths of B searches, log_p float64 [B, W] (of the
        tokens so far, the best first; -infinity: no row), steps int64 [K] (any numbers) -> parents int64 [K, B, 2 W]
        (the row of the search that is continued, 0..W-1), tokens int64 [K, B, 2 W] and log_probability float64
        [K, B, 2 W] (of all tokens so far) of the best continuations, best first (-infinity: none), is_broken bool
        [K, B, W] (rows whose logits are not finite; nothing continues them), attention float32 [K, B, W, S], new_state
        of the W best continuations that do not end, in order.
    """
    graph = OnnxGraph("decode_beam")
    graph.prefix = "beam/"
    for tensor in step.graph.initializer:
        graph.take_constant(tensor)
    width = width_of(step, "state")
    token = graph.input("token", np.int64, ["batch", "beam"])
    state = graph.input("state", np.float32, ["batch", "beam", width])
    for item in step.graph.input:
        if item.name not in ("token", "state"):
            graph.take_input(item)
    log_p = graph.input("log_p", np.float64, ["batch", "beam"])
    steps = graph.input("steps", np.int64, ["steps"])
    shapes = _Shapes(graph, log_p)
    parts = carried(step)
    inside = {name: graph.unique(name) for name in ("token", *parts.before)}
    outputs = {item.name: graph.unique(item.name) for item in step.graph.output}
    inside |= outputs
    nodes = _of_searches(graph, step, shapes, inside)
    body = OnnxGraph("step", parent=graph)
    for name in ("token", *parts.before):
        body.input(inside[name], np.int64 if name == "token" else np.float32, None)
    before = body.unique("log_p")
    body.input(before, np.float64, None)
    body.input(body.unique("steps"), np.int64, None)
    lifted = {id(node) for node in parts.lifted}
    for node in nodes:
        if id(node) not in lifted:
            body.take_node(renamed(node, inside))
    found = _Continuations(body, shapes, outputs["logits"], before, width_of(step, "logits"))
    is_end = body.node("Equal", found.tokens, body.constant(np.int64(end_id)))
    open_log_p = body.node("Where", is_end, body.constant(np.float64(-np.inf)), found.log_p)
    after, places = body.nodes("TopK", open_log_p, shapes.beam, outputs=2, axis=1)
    rows = body.node("Add", body.node("GatherElements", found.parents, places, axis=1), shapes.first_rows)
    rows = body.node("Reshape", rows, shapes.flat)
    next_tokens = body.node("GatherElements", found.tokens, places, axis=1)
    body.result(body.node("Reshape", next_tokens, shapes.flat), np.int64)
    for name in parts.after:
        body.result(body.node("Gather", inside.get(name, name), rows, axis=0), np.float32)
    body.result(after, np.float64)
    attention = body.node("Reshape", outputs["attention"], shapes.with_rest)
    emitted: list[tuple[str, str, type[np.generic], list[str | int]]] = [
        (found.parents, "parents", np.int64, ["steps", "batch", "ranks"]),
        (found.tokens, "tokens", np.int64, ["steps", "batch", "ranks"]),
        (found.log_p, "log_probability", np.float64, ["steps", "batch", "ranks"]),
        (found.is_broken, "is_broken", np.bool_, ["steps", "batch", "beam"]),
        (attention, "attention", np.float32, ["steps", "batch", "beam", "source"]),
    ]
    for value, _, dtype, _ in emitted:
        body.result(value, dtype)
    row = graph.node("Reshape", state, graph.constant(np.array([-1, width], np.int64)))
    carried_parts = graph.split(row, parts.sizes) if parts.sizes else [row]
    results = graph.nodes(
        "Scan",
        graph.node("Reshape", token, shapes.flat),
        *carried_parts,
        log_p,
        steps,
        outputs=2 + len(carried_parts) + len(emitted),
        body=body.graph_proto(),
        num_scan_inputs=1,
    )
    states = results[1 : 1 + len(carried_parts)]
    row = graph.node("Concat", *states, axis=1) if parts.sizes else states[0]
    graph.output(graph.node("Reshape", row, shapes.with_rest), "new_state", np.float32, ["batch", "beam", width])
    for value, (_, name, dtype, shape) in zip(results[2 + len(carried_parts) :], emitted, strict=True):
        graph.output(value, name, dtype, shape)
    return graph.model(like=step)


class _Shapes:
    """Shapes and indices that are computed once a call, from log_p [B, W].

    Attributes:
        batch: [B]. beam: [W]. num_rows: [B W]. ranks: [2 W].
        whole: [B, W]. column: [B, W, 1]. flat: [-1]. with_rest: [B, W, -1].
        first_rows: [B, 1], the first row of each search.
    """

    def __init__(self, graph: OnnxGraph, log_p: str) -> None:
        self._graph = graph
        one, zero = graph.constant(np.array([1], np.int64)), graph.constant(np.array([0], np.int64))
        self.whole = graph.node("Shape", log_p)
        self.batch = graph.node("Gather", self.whole, zero)
        self.beam = graph.node("Gather", self.whole, one)
        self.num_rows = graph.node("Mul", self.batch, self.beam)
        self.ranks = graph.node("Add", self.beam, self.beam)
        self.flat = graph.constant(np.array([-1], np.int64))
        self.column = self.joined(self.whole, one)
        self.with_rest = self.joined(self.whole, self.flat)
        numbers = graph.node(
            "Range",
            graph.constant(np.int64(0)),
            graph.node("Squeeze", self.num_rows),
            graph.node("Squeeze", self.beam),
        )
        self.first_rows = graph.node("Unsqueeze", numbers, one)

    def joined(self, *parts: str) -> str:
        """Vectors as one."""
        return self._graph.node("Concat", *parts, axis=0)


class _Continuations:
    """The best continuations of each search, as nodes of the loop's body.

    Attributes:
        parents: int64 [B, 2 W]. tokens: int64 [B, 2 W]. log_p: float64 [B, 2 W]. is_broken: bool [B, W].
    """

    def __init__(self, body: OnnxGraph, shapes: _Shapes, logits: str, before: str, vocab_size: int) -> None:
        none = body.constant(np.float64(-np.inf))
        two = body.constant(np.array([2], np.int64))
        num_blocks, size = _blocks(vocab_size)
        log_p = body.node("LogSoftmax", logits, axis=1)
        # All of a row is NaN where its logits hold a NaN, +infinity, or nothing but -infinity.
        is_broken = body.node("IsNaN", body.node("Gather", log_p, body.constant(np.array([0], np.int64)), axis=1))
        self.is_broken = body.node("Reshape", is_broken, shapes.whole)
        if num_blocks * size > vocab_size:
            pads = body.constant(np.array([0, 0, 0, num_blocks * size - vocab_size], np.int64))
            log_p = body.node("Pad", log_p, pads, body.constant(np.float32(-np.inf)))
        blocks = body.node("Reshape", log_p, body.constant(np.array([-1, num_blocks, size], np.int64)))
        best = body.node("ReduceMax", blocks, two, keepdims=0)
        best = body.node("Reshape", best, shapes.with_rest)  # [B, W, num_blocks]
        best = body.node("Add", body.node("Cast", best, to=_DOUBLE), body.node("Unsqueeze", before, two))
        best = body.node("Where", body.node("Reshape", is_broken, shapes.column), none, best)
        in_row = body.constant(np.array([0, -1], np.int64))
        _, chosen = body.nodes("TopK", body.node("Reshape", best, in_row), shapes.ranks, outputs=2, axis=1)
        chosen, _ = body.nodes("TopK", chosen, shapes.ranks, outputs=2, axis=1, largest=0)  # by row, then by token
        of_search = body.node("Reshape", blocks, shapes.joined(shapes.batch, *_constants(body, [-1], [size])))
        values = body.node("GatherND", of_search, body.node("Unsqueeze", chosen, two), batch_dims=1)
        # Of a broken row, where there are no better ones.
        values = body.node("Where", body.node("IsNaN", values), body.constant(np.float32(-np.inf)), values)
        rows = body.node("Div", chosen, body.constant(np.int64(num_blocks)))
        so_far = body.node("Unsqueeze", body.node("GatherElements", before, rows, axis=1), two)
        total = body.node("Add", body.node("Cast", values, to=_DOUBLE), so_far)
        total = body.node("Reshape", total, in_row)
        self.log_p, places = body.nodes("TopK", total, shapes.ranks, outputs=2, axis=1)
        length = body.constant(np.int64(size))
        at = body.node("Div", places, length)
        self.parents = body.node("GatherElements", rows, at, axis=1)
        block = body.node("Mod", body.node("GatherElements", chosen, at, axis=1), body.constant(np.int64(num_blocks)))
        tokens = body.node("Add", body.node("Mul", block, length), body.node("Mod", places, length))
        if num_blocks * size > vocab_size:  # what fills the last block up is no token
            tokens = body.node("Min", tokens, body.constant(np.int64(vocab_size - 1)))
        self.tokens = tokens


def _blocks(vocab_size: int) -> tuple[int, int]:
    """How many blocks a row of logits is cut into, at least 2, and their size.

    Of a size that divides the vocabulary the blocks are a view, not a copy.
    """
    sizes = range(2 * BLOCK, BLOCK // 2, -1)
    size = next((size for size in sizes if vocab_size % size == 0 and vocab_size > size), BLOCK)
    size = min(size, -(-vocab_size // 2))
    return max(2, -(-vocab_size // size)), size


def _constants(graph: OnnxGraph, *values: list[int]) -> list[str]:
    return [graph.constant(np.array(value, np.int64)) for value in values]


def _of_searches(
    graph: OnnxGraph, step: onnx.ModelProto, shapes: _Shapes, inside: dict[str, str]
) -> list[onnx.NodeProto]:
    """The step's nodes, with memories of searches where it has memories of rows.

    Args:
        graph: the outer graph.
        step: the step.
        shapes: of this call.
        inside: names of the step's values in the loop; those of inputs that are repeated for each row are added.
    """
    nodes = list(step.graph.node)
    ranks = {
        item.name: len(item.type.tensor_type.shape.dim)
        for item in onnx.shape_inference.infer_shapes(step).graph.value_info
    }
    for item in step.graph.input:
        name, rank = item.name, len(item.type.tensor_type.shape.dim)
        if name in ("token", "state") or not any(name in node.input for node in nodes):
            continue
        rest = graph.node("Slice", graph.node("Shape", name), *_constants(graph, [1], [rank]))
        row_shape = shapes.joined(shapes.num_rows, rest)
        shared = _grouped(graph, nodes, name, ranks, shapes, row_shape) if rank == _RANK else None
        if shared is not None:
            nodes = shared
            continue
        one = graph.constant(np.array([1], np.int64))
        repeats = shapes.joined(shapes.beam, *_constants(graph, [1] * (rank - 1)))
        repeated = graph.node("Expand", graph.node("Unsqueeze", name, one), repeats)
        inside[name] = graph.node("Reshape", repeated, row_shape)
    return nodes


def _grouped(
    graph: OnnxGraph, nodes: list[onnx.NodeProto], name: str, ranks: dict[str, int], shapes: _Shapes, row_shape: str
) -> list[onnx.NodeProto] | None:
    """The nodes with the rows of each search multiplied together by what it remembers; None where that cannot be."""
    values = {name}
    for node in nodes:
        if node.op_type == "Transpose" and node.input[0] == name:
            if list(node.attribute[0].ints)[:1] != [0]:
                return None
            values.add(node.output[0])
    to_searches = shapes.joined(shapes.batch, *_constants(graph, [-1, 0]))
    to_rows = shapes.joined(shapes.num_rows, *_constants(graph, [-1, 0]))
    found: list[onnx.NodeProto] = []
    for node in nodes:
        if values.isdisjoint(node.input) or (node.op_type == "Transpose" and node.input[0] == name):
            found.append(node)
        elif node.op_type == "Shape" and node.input[0] == name and not node.attribute:
            found.append(onnx.helper.make_node("Identity", [row_shape], node.output, name=node.name))
        elif node.op_type == "MatMul" and node.input[0] not in values and ranks.get(node.input[0]) == _RANK:
            query, product = graph.unique("query"), graph.unique("product")
            found += [
                onnx.helper.make_node("Reshape", [node.input[0], to_searches], [query], name=query),
                onnx.helper.make_node("MatMul", [query, node.input[1]], [product], name=product),
                onnx.helper.make_node("Reshape", [product, to_rows], node.output, name=node.name),
            ]
        else:
            return None
    return found
