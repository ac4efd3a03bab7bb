"""Single faults of a graph: ignored lengths, another vocabulary, misplaced reset gates, wrong int8 ranges."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from export.parity.diagnosis.graph import Graph, attribute
from models.bundle import Bundle
from models.config import TaggerConfig

Floats = NDArray[np.float32]

LENGTHS = "lengths"
_IDS = ("ids", "token")
_RECURRENT = ("LSTM", "GRU", "RNN")
_TANH_BOUND = 1.0
_CLOSE = 1e-3  # by which a tanh range may be off
_MOST_CLIPPED = 0.01  # share of a ReLU state's positive values that may lie above its range
_WIDEST = 16  # times the largest value seen


def ignored_lengths(graph: Graph, *, is_step: bool) -> Iterator[str]:
    """A sentence for each layer, or attention, of a graph that reads a row's padding as if it were text."""
    if LENGTHS not in graph.inputs:
        if not is_step:
            yield f"graph {graph.name} has no input lengths, so padding is read as text"
        return
    reached = graph.reached_from(LENGTHS, through_layers=False)
    for node in graph.nodes:
        if node.op_type in _RECURRENT and not is_step:
            lengths = node.input[4] if len(node.input) > 4 else ""
            if lengths not in reached:
                yield f"{graph.where(node)} ignores lengths (no sequence_lens), so it reads padding as text"
        elif node.op_type == "Scan":
            bodies = [item.g for item in node.attribute if item.HasField("g")]
            inner = {name for body in bodies for step in body.node for name in step.input} | set(node.input)
            if inner.isdisjoint(reached):
                yield f"{graph.where(node)} ignores lengths (its body compares none), so it reads padding as text"
        elif node.op_type == "Softmax":
            mask = graph.maker(node.input[0])
            if mask is None or mask.op_type != "Where" or mask.input[0] not in reached:
                yield f"{graph.where(node)} ignores lengths (its scores are not masked), so it attends to padding"


def other_tokenizer(bundle: Bundle) -> Iterator[str]:
    """A sentence when the tokenizer does not fit the model."""
    if bundle.record.tokenizer is None:
        return
    found, expected = bundle.tokenizer.vocab_size, bundle.config.vocab_size
    if found != expected:
        yield f"the vocabulary is wrong: the tokenizer has {found} tokens, the model {expected}"


def other_vocabulary(graph: Graph, bundle: Bundle) -> Iterator[str]:
    """A sentence for each table or output of a graph that has another number of tokens."""
    expected = bundle.config.vocab_size
    sizes = bundle.config.field_sizes if isinstance(bundle.config, TaggerConfig) else [expected]
    ids = {
        name for source in _IDS if source in graph.inputs for name in graph.reached_from(source, through_layers=False)
    }
    for node in graph.nodes:
        table = graph.constant(node.input[0]) if node.op_type == "Gather" else None
        is_of_tokens = table is not None and table.ndim == 2 and table.shape[1] > 1 and node.input[1] in ids
        if table is not None and is_of_tokens and len(table) not in sizes:
            yield f"the vocabulary is wrong: {graph.where(node)} holds {len(table)} tokens, the model {expected}"
    outputs = next((each.outputs for each in bundle.task.graphs if each.name == graph.name), ())
    of_tokens = {tensor.name for tensor in outputs if tensor.shape[-1] == "V"}
    for value in graph.model.graph.output:
        if value.name in of_tokens:
            found = value.type.tensor_type.shape.dim[-1].dim_value
            if found != expected:
                yield f"the vocabulary is wrong: graph {graph.name} gives {found} {value.name}, the model {expected}"


def misplaced_resets(graph: Graph) -> Iterator[str]:
    """A sentence for each GRU node without linear_before_reset = 1, ONNX's default, which is not what PyTorch computes.

    PyTorch: h~ = tanh(W x + r * (R h + b)). ONNX by default: h~ = tanh(W x + R (r * h) + b), Cho et al. 2014.
    """
    for node in graph.nodes:
        if node.op_type == "GRU" and attribute(node, "linear_before_reset", 0) != 1:
            yield (
                f"{graph.where(node)} misses linear_before_reset=1: its reset gate is applied before the recurrent "
                "product, PyTorch's after it"
            )


def wrong_ranges(graph: Graph, hidden: list[Floats] | None) -> Iterator[str]:
    """A sentence for each quantised value of a graph whose range cannot be right: clipped, or on a few of 255 levels.

    A state after tanh lies in [-1, 1] whatever the data, so its range is known. A ReLU state is held against the values
    that PyTorch gives.

    Args:
        graph: of an int8 set.
        hidden: of each ReLU layer its positive states as PyTorch gives them, float32 [any]; None when tanh bounds all.
    """
    for node in graph.nodes:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero_point = (graph.constant(name) for name in node.input[1:3])
        if scale is None or zero_point is None:
            where = graph.where(node)
            yield f"{where} has an int8 range that is not fixed, so an answer depends on the rest of the batch"
            continue
        low, high = ((end - int(zero_point)) * float(scale) for end in (0, 255))
        if int(zero_point) == 0 and hidden is not None:
            wrong = "" if any(_fits(high, values) for values in hidden) else _nearest(high, hidden)
        elif abs(high - _TANH_BOUND) <= _CLOSE:
            wrong = ""
        else:
            consequence = "larger ones are clipped" if high < _TANH_BOUND else "most levels are never used"
            wrong = f"values after tanh lie in [-1, 1]: {consequence}"
        if wrong:
            yield f"the int8 range of {graph.where(node)} is [{low:.3g}, {high:.3g}], and {wrong}"


def _fits(high: float, values: Floats) -> bool:
    return values.size == 0 or (_clipped(high, values) <= _MOST_CLIPPED and high <= _WIDEST * float(values.max()))


def _clipped(high: float, values: Floats) -> float:
    return float((values > high).mean()) if values.size else 0.0


def _nearest(high: float, hidden: list[Floats]) -> str:
    values = min(hidden, key=lambda each: _clipped(high, each))
    return f"the states of the nearest layer reach {values.max():.3g}: {_clipped(high, values):.0%} are clipped"
