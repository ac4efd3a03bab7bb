"""Networks computed in float64: by it PyTorch's own float32 error is known."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def in_float64() -> Iterator[None]:
    """While open, what a forward makes in float32 (torch.zeros, x.float(), dtype=torch.float32) is made in float64."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Float64():
            yield
    finally:
        torch.set_default_dtype(default)


@contextmanager
def precise(network: Network, *, is_precise: bool = True) -> Iterator[Network]:
    """A copy of a network in float64, to be called while this is open; the network itself where is_precise is False."""
    if not is_precise:
        yield network
        return
    double = copy.deepcopy(network).double()
    with in_float64():
        yield double


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
