"""From any `step` graph to `decode`: the same step several times in one runtime call, the next token chosen inside.

An ONNX Scan whose body is the step graph and the choice of the next token (export.onnx.choice); one rewrite for every
architecture and for users' modules. Where the step begins by splitting the state row and ends by joining it, the parts
are carried through the loop instead, and split and joined once. A forced token (>= 0) is taken instead of the chosen
one, so that a prompt's tokens can be rows of the same call.

`choose` is made of the nodes that choose inside `decode`, so both give the same token for the same logits.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx

from export.onnx.beam import beam_decode
from export.onnx.choice import NOT_FINITE, ChoiceInputs, chosen_tokens, declared, likeliest_token
from export.onnx.graph import OnnxGraph
from export.onnx.loop import carried, renamed, width_of
from models.decoding.inverse_cdf import NARROW

DECODE, FILTERED, CHOOSE, BEAM = "decode", "decode_filtered", "choose", "decode_beam"


_Output = tuple[str, type[np.generic], list[str | int]]  # name, dtype, shape


def with_decode(graphs: Mapping[str, onnx.ModelProto], *, end_id: int | None) -> dict[str, onnx.ModelProto]:
    """A set's graphs and what is made of its `step`: `decode` and, for text generation, `decode_filtered` and `choose`;
    for translation, where there is an end token, `decode_beam`.

    Args:
        graphs: by name; without a step they are all.
        end_id: the end token's id, or None.
    """
    step = graphs.get("step")
    if step is None:
        return dict(graphs)
    if any(item.name == "memory" for item in step.graph.input):
        beam = {} if end_id is None else {BEAM: beam_decode(step, end_id)}
        return {**graphs, DECODE: greedy_decode(step), **beam}
    return {
        **graphs,
        DECODE: sampled_decode(step, end_id),
        FILTERED: sampled_decode(step, end_id, has_filters=True),
        CHOOSE: choose_graph(width_of(step, "logits"), end_id),
    }


def sampled_decode(step: onnx.ModelProto, end_id: int | None, *, has_filters: bool = False) -> onnx.ModelProto:
    """`decode` of a step that gives logits of the next token.

    A row that uses no filter is given the same tokens with filters and without, to the bit: they are a graph of their
    own because they cost every row something, and a loop inside an If is slow (its weights are not prepacked).

    Args:
        step: token int64 [B], state float32 [B, D] -> logits float32 [B, V], new_state.
        end_id: the end token's id, or None.
        has_filters: whether rows may use min_p, top_k and top_p.

    Returns:
        token, state, forced int64 [K, B], uniforms float64 [K, B], temperature float32 [B] (0: the likeliest token),
        with an end token can_end bool [K, B], with filters min_p float32 [B] (0: off) and, up to NARROW ids, top_k
        int64 [B] (0: off) and top_p float64 [B] (1: off) -> tokens int64 [K, B] (-1 where the logits are not finite),
        new_state, and up to NARROW ids logits float32 [K, B, V].
    """
    vocab_size = width_of(step, "logits")
    graph = _outer(step)
    forced = graph.input("forced", np.int64, ["steps", "batch"])
    uniforms = graph.input("uniforms", np.float64, ["steps", "batch"])
    columns, uniforms = declared(graph, uniforms, vocab_size, end_id, has_filters=has_filters)
    scanned = [forced, uniforms]
    if end_id is not None:
        scanned.append(graph.input("can_end", np.bool_, ["steps", "batch"]))

    def choose(body: OnnxGraph, values: dict[str, str], step_values: list[str]) -> tuple[str, list[str]]:
        uniforms, *can_end = step_values
        inputs = ChoiceInputs(values["logits"], uniforms, can_end[0] if can_end else None, **columns)
        token = chosen_tokens(body, inputs, vocab_size)
        return token, [values["logits"]] if vocab_size <= NARROW else []

    extra: list[_Output] = [("logits", np.float32, ["steps", "batch", vocab_size])] if vocab_size <= NARROW else []
    return _looped(graph, step, scanned, choose, extra)


def greedy_decode(step: onnx.ModelProto) -> onnx.ModelProto:
    """`decode` of a translator's step: the likeliest token each time, of equally likely ones the lower id.

    Args:
        step: token, state, memory, keys, lengths -> logits, new_state, attention.

    Returns:
        token, state, memory, keys, lengths, forced int64 [K, B] -> tokens int64 [K, B] (-1 where the logits are not
        finite), new_state, log_probability float32 [K, B] (natural logarithm; of the likeliest token, where another is
        forced too), attention float32 [K, B, S].
    """
    vocab_size = width_of(step, "logits")
    graph = _outer(step)
    scanned = [graph.input("forced", np.int64, ["steps", "batch"])]

    def choose(body: OnnxGraph, values: dict[str, str], _: list[str]) -> tuple[str, list[str]]:
        logits = values["logits"]
        one = body.constant(np.array([1], np.int64))
        token = likeliest_token(body, logits, vocab_size)
        # A softmax holds NaN wherever a NaN, +infinity, or -infinity alone stands in a row.
        log_p = body.node("LogSoftmax", logits, axis=1)
        log_p = body.node("GatherElements", log_p, body.node("Unsqueeze", token, one), axis=1)
        log_p = body.node("Squeeze", log_p, one)
        token = body.node("Where", body.node("IsNaN", log_p), body.constant(np.int64(NOT_FINITE)), token)
        return token, [log_p, values["attention"]]

    names: list[_Output] = [
        ("log_probability", np.float32, ["steps", "batch"]),
        ("attention", np.float32, ["steps", "batch", "source"]),
    ]
    return _looped(graph, step, scanned, choose, names)


def forced_decode(step: onnx.ModelProto) -> onnx.ModelProto:
    """The loop of `decode` without a choice: what the choice costs is measured beside it. Not part of a graph set.

    Args:
        step: token, state and whatever else -> logits, new_state and whatever else.

    Returns:
        The step's inputs, forced int64 [K, B] (every one >= 0) -> tokens int64 [K, B], new_state, logits of the step.
    """
    graph = _outer(step)
    scanned = [graph.input("forced", np.int64, ["steps", "batch"])]

    def choose(body: OnnxGraph, values: dict[str, str], _: list[str]) -> tuple[str, list[str]]:
        return body.constant(np.int64(0)), [values["logits"]]

    return _looped(graph, step, scanned, choose, [("logits", np.float32, ["steps", "batch", width_of(step, "logits")])])


def choose_graph(vocab_size: int, end_id: int | None) -> onnx.ModelProto:
    """`choose`: logits float32 [B, V], uniforms float64 [B] and the options of `decode` -> tokens int64 [B]."""
    graph = OnnxGraph(CHOOSE)
    logits = graph.input("logits", np.float32, ["batch", vocab_size])
    uniforms = graph.input("uniforms", np.float64, ["batch"])
    columns, uniforms = declared(graph, uniforms, vocab_size, end_id, has_filters=True)
    can_end = None if end_id is None else graph.input("can_end", np.bool_, ["batch"])
    inputs = ChoiceInputs(logits, uniforms, can_end, **columns)
    graph.output(chosen_tokens(graph, inputs, vocab_size), "tokens", np.int64, ["batch"])
    return graph.model()


def _outer(step: onnx.ModelProto) -> OnnxGraph:
    """The graph around the loop, with the step's inputs and constants."""
    graph = OnnxGraph(DECODE)
    graph.prefix = "decode/"
    for item in step.graph.input:
        graph.take_input(item)
    for tensor in step.graph.initializer:
        graph.take_constant(tensor)
    return graph


def _looped(
    graph: OnnxGraph,
    step: onnx.ModelProto,
    scanned: list[str],
    choose: Callable[[OnnxGraph, dict[str, str], list[str]], tuple[str, list[str]]],
    extra: list[_Output],
) -> onnx.ModelProto:
    """Put the step into a loop.

    Args:
        graph: from `_outer`, with further inputs.
        step: the graph.
        scanned: what each step has one of: `forced` and whatever else `choose` wants.
        choose: (body, the step's outputs by name, values scanned besides `forced`) -> token, values of extra outputs.
        extra: name, dtype and shape of each extra output.
    """
    state = carried(step)
    inside = {"token": graph.unique("token")}
    inside |= {name: graph.unique("before") for name in state.before}
    outputs = {item.name: graph.unique(item.name) for item in step.graph.output}
    inside |= outputs
    lifted = {id(node) for node in state.lifted}
    body = OnnxGraph("step", parent=graph)
    for name in ("token", *state.before):
        body.input(inside[name], np.int64 if name == "token" else np.float32, None)
    forced, *others = [body.unique("scanned") for _ in scanned]
    scanned_dtypes: list[type[np.generic]] = [np.int64, np.float64, np.bool_]
    for name, dtype in zip((forced, *others), scanned_dtypes, strict=False):
        body.input(name, dtype, None)
    for node in step.graph.node:
        if id(node) not in lifted:
            body.take_node(renamed(node, inside))
    token, values = choose(body, outputs, others)
    is_forced = body.node("GreaterOrEqual", forced, body.constant(np.int64(0)))
    token = body.node("Where", is_forced, forced, token)
    body.result(token, np.int64)
    has_own_value = set(state.after) - set(state.before)
    for name in state.after:
        value = inside.get(name, name)
        # A part that the step leaves as it is needs a value of its own: the runtime's loop carries it on wrongly.
        body.result(value if name in has_own_value else body.node("Identity", value), np.float32)
        has_own_value.discard(name)
    body.result(body.node("Identity", token), np.int64)
    for value, (_, dtype, _) in zip(values, extra, strict=True):
        body.result(value, dtype)
    parts = graph.split("state", state.sizes) if state.sizes else ["state"]
    found = graph.nodes(
        "Scan",
        "token",
        *parts,
        *scanned,
        outputs=1 + len(parts) + 1 + len(extra),
        body=body.graph_proto(),
        num_scan_inputs=len(scanned),
    )
    after, emitted = found[1 : 1 + len(parts)], found[1 + len(parts) :]
    row = graph.node("Concat", *after, axis=1) if state.sizes else after[0]
    graph.output(emitted[0], "tokens", np.int64, ["steps", "batch"])
    graph.output(row, "new_state", np.float32, ["batch", width_of(step, "state")])
    for value, (name, dtype, shape) in zip(emitted[1:], extra, strict=True):
        graph.output(value, name, dtype, shape)
    return graph.model(like=step)
