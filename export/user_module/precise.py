"""A user's module computed in float64: by it PyTorch's own float32 error is known.

A copy in float64 is called with float64 inputs, and whatever its forward makes in float32 (torch.zeros, x.float(),
dtype=torch.float32) is made in float64 instead.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from export.user_module.outputs import named_tensors


class PreciseModule:
    """A module in float64; copied when it is called first.

    Args:
        module: the user's, on the CPU in eval mode; it stays as it is.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._copy: nn.Module | None = None

    def value(self, *inputs: Tensor) -> Any:
        """What forward returns for inputs of any dtype; None where it cannot be computed in float64."""
        default = torch.get_default_dtype()
        try:
            torch.set_default_dtype(torch.float64)
            if self._copy is None:
                self._copy = copy.deepcopy(self._module).double()
            with torch.no_grad(), _Float64():
                return self._copy(*(value.double() if value.is_floating_point() else value.clone() for value in inputs))
        except Exception:  # whatever the user's own code raises when dtypes are not those it knows
            return None
        finally:
            torch.set_default_dtype(default)

    def answers(self, *inputs: Tensor) -> list[Tensor] | None:
        """As value, flattened to tensors in order."""
        value = self.value(*inputs)
        return None if value is None else [tensor for _, tensor in named_tensors(value)]


class _Float64(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """See TorchFunctionMode."""
        if func is Tensor.float:
            return args[0].double()
        options = {name: _wider(value) for name, value in (kwargs or {}).items()}
        return func(*(_wider(value) for value in args), **options)


def _wider(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value
