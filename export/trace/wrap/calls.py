"""Calling and tracing a user's module: what fails there is told in one sentence, and rows go in from long to short.

A module may pack with enforce_sorted=True, which PyTorch checks and a graph does not need. So that PyTorch's answers
can be had for any batch, rows are sorted by length on the way in and put back on the way out.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from export.trace.module.source import described
from export.trace.module.trace import trace_module
from export.trace.torch_export import DynamicAxes
from models.errors import ExportError, RnnserveError


def called(who: str, function: Callable[..., Any], *arguments: Any, advice: str = "") -> Any:
    """The function's result, without gradients.

    Args:
        who: the user's method, for the message.
        function: it.
        arguments: for it.
        advice: what else to tell when it fails.

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
) -> onnx.ModelProto:
    """Trace what is around a user's module; messages name the user's.

    Raises:
        ExportError: PyTorch cannot trace it, or its code freezes an axis.
    """
    try:
        return trace_module(around, inputs, outputs)
    except ExportError as error:
        own = str(error).replace(type(around).__name__, type(module).__name__)
        raise type(error)(f"Graph {graph}: {own}") from error


def rows_by_length(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The order of rows from long to short, and the order that undoes it; int64 [batch] each."""
    order = torch.argsort(lengths, descending=True, stable=True)
    return order, torch.argsort(order)


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return type(value).__name__
