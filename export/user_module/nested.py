"""A module whose forward takes tuples, such as an LSTM's (h, c), behind a forward that takes tensors one by one."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from export.user_module.inputs import InputSpec, Nested


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
