"""Calling and tracing a user's module: a failure there is reported in one sentence, and rows go in from long to short.

A module may pack with enforce_sorted=True, which PyTorch checks and a graph does not need. So that PyTorch's answers
can be had for any batch, rows are sorted by length on the way in and put back on the way out.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from export.onnx.rewrite.row_bits import with_row_bits
from export.trace.torch_export import DynamicAxes
from export.user_module.draw import Drawing, Sizes, new_drawing
from export.user_module.inputs import InputSpec, ValueRange
from export.user_module.prove import proven
from export.user_module.repeatable import check_repeatable
from export.user_module.source import described
from export.user_module.trace import Traced, traced_module
from models.errors import ExportError, RnnserveError, UnsupportedModelError

_WAY_ROUND = (
    "Write it without the branch (torch.where, clamp, a mask, a slice); for a classifier the tokenizer may cut texts "
    "before that: tokenizer.enable_truncation(LENGTH)."
)


def check_arguments(who: str, method: Callable[..., Any], names: str) -> None:
    """Refuse a method that cannot be called with what the server has for it.

    Args:
        who: the method, for the message.
        method: it.
        names: of the arguments, with commas.

    Raises:
        UnsupportedModelError: it takes others.
    """
    try:
        inspect.signature(method).bind(*names.split(", "))
    except TypeError as error:
        signature = inspect.signature(method)
        if (
            sum(parameter.default is parameter.empty for parameter in signature.parameters.values())
            > names.count(",") + 1
        ):
            return  # what else it wants is reported where it is called
        raise UnsupportedModelError(
            f"{who}{signature} does not take ({names}): {error}. Texts of different lengths are padded to one array, "
            "so the lengths say where each ends."
        ) from error


def check_repeats(who: str, function: Callable[..., Any], *arguments: Any) -> None:
    """Refuse a method that answers otherwise the second time; see check_repeatable."""
    check_repeatable(who, lambda: called(who, function, *arguments))


def called(who: str, function: Callable[..., Any], *arguments: Any, advice: str = "") -> Any:
    """The function's result, without gradients.

    Args:
        who: the user's method, for the message.
        function: it.
        arguments: for it.
        advice: what else to say when it fails.

    Raises:
        ExportError: it failed.
    """
    try:
        with torch.no_grad():
            return function(*arguments)
    except RnnserveError:
        raise
    except Exception as error:  # whatever the user's own code raises
        shapes = ", ".join(_shown(value) for value in arguments)
        raise ExportError(f"{who}({shapes}) fails in PyTorch: {described(error)}.{advice}") from error


def traced_for(
    module: nn.Module,
    around: nn.Module,
    graph: str,
    inputs: Mapping[str, tuple[Tensor, DynamicAxes]],
    outputs: Sequence[str],
    remarks: list[str],
    longest: Mapping[str, int] | None = None,
    ranges: Mapping[str, ValueRange] | None = None,
) -> onnx.ModelProto:
    """Trace what is around a user's module, and compare where its answers to questions about sizes would be others.

    Args:
        module: the user's, which messages name.
        around: to be traced; its forward takes the inputs in order.
        graph: its name.
        inputs: name -> (example, axis -> name of the dynamic axis).
        outputs: names of the results.
        remarks: gets what a user should know of the comparison, a sentence each.
        longest: axis -> the most that it ever is.
        ranges: input -> what its values are drawn from.

    Raises:
        ParityError: a branch on a size matters.
        ExportError: PyTorch cannot trace it, or its code freezes an axis.
    """
    drawing = _drawing(module, inputs, longest or {}, ranges or {})
    sizes = {axes[axis]: example.shape[axis] for example, axes in inputs.values() for axis in axes}

    def trace(at: Sizes) -> Traced:
        drawn = drawing.draw(at, torch.Generator().manual_seed(0))
        traced = traced_module(
            around,
            {name: (example if at == sizes else drawn[name], axes) for name, (example, axes) in inputs.items()},
            outputs,
        )
        return replace(traced, model=with_row_bits(traced.model))

    try:
        traced, parity = proven(trace, around, drawing, sizes, outputs, way_round=_WAY_ROUND, is_checked_before=True)
        remarks += [f"Graph {graph}: {note}" for note in parity.notes]
        return traced.model
    except ExportError as error:
        own = str(error).replace(type(around).__name__, type(module).__name__)
        raise type(error)(f"Graph {graph}: {own}") from error


def _drawing(
    module: nn.Module,
    inputs: Mapping[str, tuple[Tensor, DynamicAxes]],
    longest: Mapping[str, int],
    own_ranges: Mapping[str, ValueRange],
) -> Drawing:
    """Random inputs, rows from long to short; states are zeros, which every module takes."""
    specs = [
        InputSpec(
            name,
            str(example.dtype).removeprefix("torch."),
            tuple(axes.get(axis, size) for axis, size in enumerate(example.shape)),
        )
        for name, (example, axes) in inputs.items()
    ]
    ranges = {**own_ranges, **{axis: ValueRange(1, most) for axis, most in longest.items()}}
    if "state" in inputs:
        ranges["state"] = ValueRange(0, 0)
    return replace(new_drawing(module, specs, ranges), is_sorted=True)


def rows_by_length(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The order of rows from long to short, and the order that undoes it; int64 [batch] each."""
    order = torch.argsort(lengths, descending=True, stable=True)
    return order, torch.argsort(order)


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return type(value).__name__
