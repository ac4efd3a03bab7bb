"""A user's module computed in float64; where its code does not let itself be computed so, None."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from export.trace.precise import in_float64
from export.user_module.copies import deep_copy
from export.user_module.outputs import named_tensors

NUM_ROUNDED = 4  # copies whose weights are a rounding away
_ROUNDING = float(torch.finfo(torch.float32).eps) / 2  # of a number to float32, as a share of it


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

    def rounded_answers(self, *inputs: Tensor) -> Iterator[list[Tensor]]:
        """As answers, of copies whose weights are as far from the module's as rounding to float32 leads.

        The float32 error of a single computation may be small by chance, above all of a single number. These answers
        say how far off any computation in float32 may be: the same for every call, NUM_ROUNDED or none.
        """
        generator = torch.Generator().manual_seed(0)
        for _ in range(NUM_ROUNDED):
            try:
                rounded = deep_copy(self._module).double()
            except Exception:  # whatever the user's own code raises
                return
            for parameter in rounded.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.data *= 1 + _ROUNDING * noise
            answers = PreciseModule(rounded).answers(*inputs)
            if answers is None:
                return
            yield answers
