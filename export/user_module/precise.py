"""A user's module computed in float64; where its code does not let itself be computed so, None."""

from typing import Any

import torch
from torch import Tensor, nn

from export.trace.precise import in_float64
from export.user_module.copies import deep_copy
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
        try:
            if self._copy is None:
                self._copy = deep_copy(self._module).double()
            with torch.no_grad(), in_float64():
                return self._copy(*(value.double() if value.is_floating_point() else value.clone() for value in inputs))
        except Exception:  # whatever the user's own code raises when dtypes are not those it knows
            return None

    def answers(self, *inputs: Tensor) -> list[Tensor] | None:
        """As value, flattened to tensors in order."""
        value = self.value(*inputs)
        return None if value is None else [tensor for _, tensor in named_tensors(value)]
