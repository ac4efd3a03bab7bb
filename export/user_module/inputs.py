"""What a graph takes: names, dtypes and axes of its inputs, and the values they may hold, as a user writes them.

A graph takes tensors one by one; a forward may take tuples of them, such as an LSTM's (h, c).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import ExportError

DTYPES = {"float32": torch.float32, "int64": torch.int64, "int32": torch.int32, "bool": torch.bool}
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_SPEC = re.compile(rf"\s*({_NAME})\s*:\s*(\w+)\s*\[([^\[\]]*)\]\s*")
_RANGE = re.compile(rf"\s*({_NAME})\s*:\s*(\S+?)\s*\.\.\s*(\S+?)\s*")


@dataclass(frozen=True)
class InputSpec:
    """One input of a graph.

    Attributes:
        name: its name in the graph.
        dtype: one of DTYPES.
        axes: a string is a dynamic axis of that name, the same size wherever the name occurs; a number is fixed.
    """

    name: str
    dtype: str
    axes: tuple[str | int, ...]

    def __post_init__(self) -> None:
        if not re.fullmatch(_NAME, self.name):
            raise ExportError(f"Input name {self.name!r} is not a name: letters, digits and _, no digit in front.")
        if self.dtype not in DTYPES:
            raise ExportError(f"Input {self.name} has dtype {self.dtype!r}. Allowed: {', '.join(DTYPES)}.")
        for axis in self.axes:
            if isinstance(axis, str) and not re.fullmatch(_NAME, axis):
                raise ExportError(
                    f"Input {self.name} has an axis {axis!r}. An axis is a word (dynamic) or a number from 1 (fixed), "
                    "as in ids:int64[batch,time] or x:float32[batch,time,80]."
                )
            if isinstance(axis, int) and axis < 1:
                raise ExportError(f"Input {self.name} has an axis of size {axis}; a fixed axis is a number from 1.")

    @property
    def is_lengths(self) -> bool:
        """Whether it holds how long each row is, by its name."""
        return self.name == "lengths" and self.dtype.startswith("int")

    @property
    def dynamic_axes(self) -> dict[int, str]:
        """Axis number -> name of each dynamic axis."""
        return {number: axis for number, axis in enumerate(self.axes) if isinstance(axis, str)}


@dataclass(frozen=True)
class ValueRange:
    """What an input's values are drawn from when the graph is checked, or an axis' sizes; both ends included.

    Attributes:
        low: the least.
        high: the most; the name of an axis means that axis' size, and then one value of every draw is that size, as
            with lengths.
    """

    low: float
    high: float | str


def input_spec_from_text(text: str) -> InputSpec:
    """An input as `ids:int64[batch,time]`.

    Raises:
        ExportError: it is written otherwise, or the dtype or an axis is not allowed.
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise ExportError(
            f"Input {text!r} is not written as NAME:DTYPE[AXIS,...], for instance ids:int64[batch,time]. "
            "A word is a dynamic axis, a number a fixed one."
        )
    name, dtype, axes = match.groups()
    words = [word.strip() for word in axes.split(",")] if axes.strip() else []
    return InputSpec(name, dtype, tuple(int(word) if re.fullmatch(r"-?\d+", word) else word for word in words))


Nested = InputSpec | tuple["Nested", ...]  # an argument of forward: a tensor, or a tuple of arguments


def argument_from_text(text: str) -> Nested:
    """An argument of forward: one input, or a tuple as `(h:float32[2,batch,6],c:float32[2,batch,6])`, nested as may be.

    Raises:
        ExportError: as input_spec_from_text, or parentheses do not match.
    """
    inner = text.strip()
    if not inner.startswith("("):
        return input_spec_from_text(text)
    parts, depth = [""], 0
    for character in inner[1:-1]:
        depth += (character in "([") - (character in ")]")
        if depth < 0:
            break
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if depth or not inner.endswith(")"):
        raise ExportError(
            f"Input {text!r} is not written as (INPUT,INPUT,...), for instance "
            "(h:float32[2,batch,6],c:float32[2,batch,6]), which forward takes as one tuple."
        )
    return tuple(argument_from_text(part) for part in parts if part.strip())


def flat_inputs(arguments: Iterable[Nested]) -> list[InputSpec]:
    """The inputs of arguments, in order."""
    return [
        spec
        for argument in arguments
        for spec in ([argument] if isinstance(argument, InputSpec) else flat_inputs(argument))
    ]


def value_range_from_text(text: str) -> tuple[str, ValueRange]:
    """A range as `NAME:LO..HI`, both ends included; NAME an input or an axis, HI a number or an axis' name.

    Returns:
        The name and the range.

    Raises:
        ExportError: it is written otherwise, or LO is above HI.
    """
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ExportError(f"Range {text!r} is not written as NAME:LO..HI, for instance ids:1..99.")
    name, low_text, high_text = match.groups()
    low = _number(low_text)
    high = high_text if re.fullmatch(_NAME, high_text) else _number(high_text)
    if low is None or high is None:
        raise ExportError(
            f"Range {text!r}: {(low_text if low is None else high_text)!r} is no number. Write NAME:LO..HI, for "
            "instance ids:1..99 or speed:-0.5..0.5; HI may also be the name of an axis."
        )
    if not isinstance(high, str) and low > high:
        raise ExportError(f"Range {text!r} is empty: {low_text} is above {high_text}.")
    return name, ValueRange(low, high)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None  # neither NaN nor infinite


def taking_flat(module: nn.Module, arguments: Sequence[Nested]) -> nn.Module:
    """The module itself where no argument is a tuple, else one of its name around it.

    Args:
        module: the user's.
        arguments: what its forward takes, in order.
    """
    if all(isinstance(argument, InputSpec) for argument in arguments):
        return module
    kind = type(type(module).__name__, (_TakingFlat,), {})
    around: nn.Module = kind(module, arguments)
    return around.train(module.training)


class _TakingFlat(nn.Module):
    def __init__(self, module: nn.Module, arguments: Sequence[Nested]) -> None:
        super().__init__()
        self.module = module
        self._arguments = tuple(arguments)

    def forward(self, *inputs: Tensor) -> Any:
        values = iter(inputs)
        return self.module(*(_value(argument, values) for argument in self._arguments))


def _value(argument: Nested, values: Iterator[Tensor]) -> Any:
    if isinstance(argument, InputSpec):
        return next(values)
    return tuple(_value(inner, values) for inner in argument)
