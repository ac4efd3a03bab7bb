"""A user's module, made exportable, as an ONNX model.

Traced by torch.export without its compiler (strict=False), so the forward runs as plain Python, once, on tensors
without values; then translated. What Python decides while it runs is decided without end: a branch on a tensor's value
fails, a loop over a dynamic axis would freeze it and is refused.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from traceback import FrameSummary
from typing import Any

import onnx
import sympy  # type: ignore[import-untyped]
import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols, is_concrete_int

from export.onnx.graph import OPSET
from export.onnx.rewrite.computed_weights import with_computed_weights
from export.onnx.rewrite.rnn_as_scan import rnn_as_scan
from export.trace.torch_export import DynamicAxes, finished, quiet
from export.user_module.copies import copied
from export.user_module.guards import Guard, guards_of, users_lines
from export.user_module.loops.modules import with_loops_rewritten
from export.user_module.loops.traced import Tracing
from export.user_module.outputs import FlatOutputs
from export.user_module.packing import Packings
from export.user_module.recurrent import in_place_of_kernels
from export.user_module.refusals import refuse_unsupported
from export.user_module.single_step import with_products_in_steps
from export.user_module.source import described, is_machinery
from models.errors import ExportError, UnsupportedModelError

# Part of PyTorch's message -> what it means for the user, and the way round.
_EXPLANATIONS = (
    (
        ("data-dependent", "Could not guard", "unbacked"),
        "the forward makes a Python number of a tensor's values (int(), .item(), max() of lengths, an if or an "
        "assert), which a graph cannot. Take sizes from shapes (x.size(1) for lengths.max()) and choose with "
        "torch.where.",
    ),
    (
        ("was assigned during export", "attributes", "mutat"),
        "the forward keeps something on the module between calls, which a graph cannot. Take it as an argument and "
        "return it.",
    ),
)


class FrozenAxisError(ExportError):
    """An axis that is to be dynamic has become a number."""


@dataclass(frozen=True)
class Traced:
    """A traced module.

    Attributes:
        model: opset 20, every named axis symbolic, weights inside.
        guards: what the traced path of the forward took for granted about sizes.
        looped: axes that a Python loop went over.
    """

    model: onnx.ModelProto
    guards: tuple[Guard, ...]
    looped: tuple[str, ...] = ()


def trace_module(
    module: nn.Module, examples: Mapping[str, tuple[Tensor, DynamicAxes]], outputs: Sequence[str]
) -> onnx.ModelProto:
    """As traced_module, the model alone."""
    return traced_module(module, examples, outputs).model


def traced_module(
    module: nn.Module, examples: Mapping[str, tuple[Tensor, DynamicAxes]], outputs: Sequence[str]
) -> Traced:
    """Trace a user's module; it stays as it is.

    Args:
        module: any module; its forward takes the inputs in order.
        examples: name -> (example, axis -> name of the dynamic axis). Sizes of different axes should differ, and
            be above 1.
        outputs: names for the flattened return value, in order.

    Raises:
        UnsupportedModelError: the module holds a part that cannot be exported.
        ExportError: PyTorch cannot trace it, or its code freezes an axis.
    """
    packings, tracing = Packings(), Tracing()
    refuse_unsupported(module)
    own = copied(module)
    with_products_in_steps(own)
    with_loops_rewritten(own, tracing)
    flat = FlatOutputs(own, packings).eval()
    dynamic = tuple(dict.fromkeys(axes, torch.export.Dim.AUTO) for _, axes in examples.values())
    values = tuple(value for value, _ in examples.values())
    with torch.no_grad(), quiet():
        try:
            # PyTorch prints half-made graphs to stderr.
            with in_place_of_kernels(packings), users_lines(), redirect_stderr(io.StringIO()):
                program = torch.export.export(flat, values, dynamic_shapes=(dynamic,), strict=False)
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(_explained(module, error)) from error
        _check_frozen(program, examples)
        _check_packed(program, packings, outputs)
        try:
            translated = torch.onnx.export(
                program,
                dynamo=True,
                input_names=list(examples),
                output_names=list(outputs),
                dynamic_shapes=(tuple(axes for _, axes in examples.values()),),
                opset_version=OPSET,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            cause = error.__cause__ or error
            raise ExportError(_untranslated(module, program, cause)) from error
    assert translated is not None
    model = rnn_as_scan(with_computed_weights(finished(translated.model_proto, examples)))
    return Traced(model, _guards(program, examples), _looped(program, examples, tracing))


def _looped(
    program: torch.export.ExportedProgram, examples: Mapping[str, tuple[Tensor, DynamicAxes]], tracing: Tracing
) -> tuple[str, ...]:
    """The axes that decide how many steps the loops of the forward have."""
    symbols = set().union(*(count.node.expr.free_symbols for count in tracing.counts))
    sizes = _input_sizes(program, examples)
    axes = [examples[name][1][axis] for name, axis, size, _ in sizes if size.node.expr.free_symbols & symbols]
    return tuple(dict.fromkeys(axes))


def _input_sizes(
    program: torch.export.ExportedProgram, examples: Mapping[str, tuple[Tensor, DynamicAxes]]
) -> Iterator[tuple[str, int, Any, Any]]:
    """Each dynamic axis of each input: the input's name, the axis, its traced size, the traced tensor."""
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    for name, (input_name, (_, axes)) in zip(program.graph_signature.user_inputs, examples.items(), strict=True):
        for axis in axes:
            yield input_name, axis, values[name].shape[axis], values[name]


def _guards(
    program: torch.export.ExportedProgram, examples: Mapping[str, tuple[Tensor, DynamicAxes]]
) -> tuple[Guard, ...]:
    symbols, env = {}, None
    for name, axis, size, value in _input_sizes(program, examples):
        env = value.fake_mode.shape_env
        if isinstance(size.node.expr, sympy.Symbol):
            symbols[size.node.expr] = examples[name][1][axis]
    return () if env is None else guards_of(env, symbols)


def _check_frozen(program: torch.export.ExportedProgram, examples: Mapping[str, tuple[Tensor, DynamicAxes]]) -> None:
    """Refuse a program in which an axis that is to be dynamic has become a number, and say where that happened."""
    for name, axis, size, value in _input_sizes(program, examples):
        if is_concrete_int(size):
            raise FrozenAxisError(
                f"Axis {axis} ({examples[name][1][axis]}) of input {name} was frozen to {size}"
                f"{_place_of_freezing(value, int(size))}. A Python loop over it, len(), unpacking or int() "
                "of its size does that: a graph cannot repeat a step an unknown number of times. A loop over time is "
                "followed in a method of the module (docs/cells.md); or use nn.LSTM, nn.GRU or nn.RNN, "
                f"x.size({axis}) for len(x), tensors for lists of rows, or declare the axis as a number in --input."
            )


def _check_packed(program: torch.export.ExportedProgram, packings: Packings, outputs: Sequence[str]) -> None:
    """Refuse outputs with the axis of packed data: rows of equal length are in no order that could be relied on."""
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    for name, output in zip(program.graph_signature.user_outputs, outputs, strict=True):
        value = values.get(str(name))
        if isinstance(value, Tensor) and free_unbacked_symbols(value.shape) & packings.totals:
            raise UnsupportedModelError(
                f"Output {output} has one row for each element of a PackedSequence, in an order that is PyTorch's own "
                "where rows are equally long. Return pad_packed_sequence(packed)[0] and the lengths."
            )


def _place_of_freezing(value: Any, size: int) -> str:
    """Where in the user's code a size became a number, as PyTorch recorded it; "" when it did not."""
    for guard in value.fake_mode.shape_env.guards:
        place = guard.sloc.framework_loc
        is_users = isinstance(place, FrameSummary) and not is_machinery(place.filename)
        if is_users and str(guard.expr).startswith("Eq(") and str(guard.expr).endswith(f", {size})"):
            return f" in {Path(place.filename).name}, line {place.lineno} ({place.line})"
    return ""


# Part of an operator's name -> why it has no translation, and the way round.
_OPERATORS = (
    (
        ("adaptive_avg_pool", "adaptive_max_pool"),
        "adaptive pooling over an axis of free size, whose windows are decided by that size. Pool to size 1 "
        "(x.mean(dim), x.amax(dim)), pool by windows of a fixed size (F.avg_pool2d), or declare the axis as a number "
        "in --input",
    ),
)


def _untranslated(module: nn.Module, program: torch.export.ExportedProgram, cause: BaseException) -> str:
    """Why PyTorch could not translate a program: the operator, the user's line, and the way round."""
    message = described(cause, is_brief=True)
    own = f"PyTorch cannot translate {type(module).__name__} to ONNX"
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    for signs, explanation in _OPERATORS:
        for node in nodes:
            if any(sign in str(node.target) for sign in signs):
                return f"{own}: {node.target}{_line_of(node)} is {explanation}."
    named = re.search(r"translating node %(\w+)", message)
    found = [node for node in nodes if named is not None and node.name == named.group(1)]
    if found:
        return (
            f"{own}: the operator {found[0].target}{_line_of(found[0])} has no ONNX counterpart. Write that line with "
            "other operators."
        )
    return f"{own}: {message}. An operator without an ONNX counterpart is named there; write it with others."


def _line_of(node: torch.fx.Node) -> str:
    """The user's line that a node comes from, as ` (my_file.py, line 3: y = pool(x))`."""
    trace = re.findall(r'File "([^"]+)", line (\d+), in [^\n]+\n\s*(.*)', node.meta.get("stack_trace") or "")
    for file, line, text in reversed(trace):
        if not is_machinery(file):
            return f" ({Path(file).name}, line {line}: {text})"
    return ""


def _explained(module: nn.Module, error: Exception) -> str:
    message = f"PyTorch cannot trace {type(module).__name__}: {described(error, is_brief=True)}"
    for signs, explanation in _EXPLANATIONS:
        if any(sign in str(error) for sign in signs):
            return f"{message}. That is: {explanation}"
    return f"{message}. Change that line, or give the axis it needs fixed as a number."
