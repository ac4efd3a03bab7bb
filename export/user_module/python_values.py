"""Things that users write and PyTorch's tracer cannot follow, answered so that it can.

`lengths.tolist()` or `.numpy()` handed to pack_padded_sequence: a list that remembers its tensor. `parameter.data` in
an init_hidden: the same tensor, detached. Lengths that are made of sizes, as pack_sequence does, stay sizes. The end of
`x[:, :64]` is the smaller of 64 and the size, so that the slice is right for short and for long inputs.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, SupportsIndex

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

from models.errors import UnsupportedModelError

_DATA: Any = Tensor.data.__get__  # type: ignore[attr-defined]


class TracedList(list[int]):
    """The values of a tensor as a list; only pack_padded_sequence may look at it, through the tensor."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.tensor = tensor

    def _refuse(self) -> NoReturn:
        raise UnsupportedModelError(
            "The forward reads numbers out of tensor.tolist() or .numpy(), which a graph cannot: its values "
            "are known only when it runs. Hand the list to pack_padded_sequence only, or keep the tensor: x.size(1) "
            "for max(lengths), masks and torch.where for the rest."
        )

    def __iter__(self) -> Iterator[int]:
        self._refuse()

    def __len__(self) -> int:
        self._refuse()

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        self._refuse()


@contextmanager
def python_values() -> Iterator[None]:
    """While open, a traced forward may do what the module's docstring says."""
    tolist = FakeTensor.tolist  # the class of tensors in a forward that is traced
    FakeTensor.tolist = _traced_list  # type: ignore[assignment, method-assign]
    try:
        with _Functions():
            yield
    finally:
        FakeTensor.tolist = tolist  # type: ignore[method-assign]


def _traced_list(tensor: Tensor) -> Any:
    return tensor.item() if tensor.dim() == 0 else TracedList(tensor)


class _Functions(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """See TorchFunctionMode."""
        options = kwargs or {}
        if func == _DATA:
            return args[0].detach()
        if func is Tensor.numpy:
            return TracedList(args[0])
        if func in (torch.as_tensor, torch.tensor) and args:
            values = args[0]
            if isinstance(values, TracedList):
                return values.tensor.to(options.get("dtype", torch.int64))
            if isinstance(values, list) and any(isinstance(value, torch.SymInt) for value in values):
                return torch.stack([torch.scalar_tensor(value, dtype=torch.int64) for value in values]).to(
                    options.get("dtype", torch.int64)
                )
        if func is Tensor.__getitem__:
            return func(args[0], _within(args[0], args[1]))
        return func(*args, **options)


def _within(tensor: Tensor, index: Any) -> Any:
    """An index whose slices end inside the tensor, as x[:, :64] may not: the smaller of 64 and a dynamic size."""
    parts = index if isinstance(index, tuple) else (index,)
    if not all(part is None or isinstance(part, int | slice) for part in parts):
        return index
    found, axis = [], 0
    for part in parts:
        found.append(_slice_within(part, tensor.shape[axis]) if isinstance(part, slice) else part)
        axis += part is not None
    return tuple(found) if isinstance(index, tuple) else found[0]


def _slice_within(part: slice, size: Any) -> slice:
    if not isinstance(size, torch.SymInt) or part.step not in (None, 1):
        return part
    if type(part.stop) is int and part.stop > 1 and part.start in (None, 0):
        return slice(part.start, torch.sym_min(size, part.stop))  # type: ignore[no-untyped-call]
    if type(part.start) is int and part.start < -1 and part.stop is None:
        return slice(torch.sym_max(size + part.start, 0), None)  # type: ignore[no-untyped-call]
    return part
