"""Calling a user's module: what fails there is told in one sentence, and rows go in from long to short.

A module may pack with enforce_sorted=True, which PyTorch checks and a graph does not need. So that PyTorch's answers
can be had for any batch, rows are sorted by length on the way in and put back on the way out.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from export.trace.module.source import described
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


def rows_by_length(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The order of rows from long to short, and the order that undoes it; int64 [batch] each."""
    order = torch.argsort(lengths, descending=True, stable=True)
    return order, torch.argsort(order)


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    return type(value).__name__
