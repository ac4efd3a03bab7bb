"""Things that users write and PyTorch's tracer cannot follow, answered so that it can.

`lengths.tolist()` or `.numpy()` handed to pack_padded_sequence: a list that remembers its tensor. `parameter.data` in
an init_hidden: the same tensor, detached. The first of batch_sizes: the number of rows, a size.
Lengths that are made of sizes, as pack_sequence does, stay sizes. The end of `x[:, :64]` is the smaller of 64 and the
size, so that the slice is right for short and for long inputs. A stable sort is the only one that a graph has.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

from export.user_module.packing import Packings
from export.user_module.source import users_place
from models.errors import UnsupportedModelError

_SORTS = (torch.sort, Tensor.sort, torch.argsort, Tensor.argsort)
_SET_ATTRIBUTE = nn.Module.__setattr__
_DATA: Any = Tensor.data.__get__  # type: ignore[attr-defined]


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise UnsupportedModelError(
        f"The forward reads numbers out of tensor.tolist() or .numpy(){users_place()}, which a graph cannot: its "
        "values are known only when it runs. Hand the list to pack_padded_sequence only, or keep the tensor: x.size(1) "
        "for max(lengths), lengths.argsort() for numpy's, masks and torch.where for the rest."
    )


class TracedList(list[int]):
    """The values of a tensor as a list; only pack_padded_sequence may read them, through the tensor.

    Whatever else is done with it, as with a list or with an array of numpy, is refused: the list itself is empty.
    """

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.tensor = tensor

    def __getattribute__(self, name: str) -> Any:
        """Its own attributes and those every object has; any other is refused."""
        if name == "tensor" or (name.startswith("__") and name not in _NUMPY_READS):
            return super().__getattribute__(name)
        return _refuse()


# Operators and functions of lists, numbers and arrays find these on the class.
_OPERATORS = (
    *("iter", "len", "getitem", "setitem", "delitem", "contains", "reversed", "bool", "int", "float", "index"),
    *("add", "radd", "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "truediv", "rtruediv", "floordiv"),
    *("rfloordiv", "mod", "rmod", "pow", "rpow", "neg", "pos", "abs", "invert", "and", "rand", "or", "ror", "matmul"),
    *("rmatmul", "eq", "ne", "lt", "le", "gt", "ge", "array", "round", "str", "repr", "format"),
)
_NUMPY_READS = ("__array__", "__array_interface__", "__array_struct__")
for _operator in _OPERATORS:
    setattr(TracedList, f"__{_operator}__", _refuse)


@contextmanager
def python_values(packings: Packings) -> Iterator[None]:
    """While open, a traced forward may do what the module's docstring says.

    Args:
        packings: the packed batches of the trace.
    """
    tolist = FakeTensor.tolist  # the class of tensors in a forward that is traced
    FakeTensor.tolist = _traced_list  # type: ignore[assignment, method-assign]
    try:
        with _Functions(packings):
            yield
    finally:
        FakeTensor.tolist = tolist  # type: ignore[method-assign]


def _traced_list(tensor: Tensor) -> Any:
    return tensor.item() if tensor.dim() == 0 else TracedList(tensor)


@contextmanager
def attributes_kept(module: nn.Module) -> Iterator[None]:
    """While open, a forward may set attributes and weights, as weight drop does; afterwards they are what they were.

    That nothing of it reaches the next call is asked before a module is traced. A computed tensor may stand in a
    parameter's place: what a dropout gives in eval mode is a parameter in PyTorch itself, in a trace it is not.
    """
    fields = ("_parameters", "_buffers", "_flat_weights", "_flat_weight_refs")
    parts = list(module.modules())
    before = [
        (dict(vars(part)), {name: copy(vars(part)[name]) for name in fields if name in vars(part)}) for part in parts
    ]
    nn.Module.__setattr__ = _set_over_parameters  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        nn.Module.__setattr__ = _SET_ATTRIBUTE  # type: ignore[method-assign]
        for part, (attributes, held) in zip(parts, before, strict=True):
            vars(part).clear()
            vars(part).update(attributes)
            for name, values in held.items():
                own = vars(part)[name]
                if isinstance(own, dict):
                    own.clear()
                    own.update(values)
                else:
                    own[:] = values


def _set_over_parameters(module: nn.Module, name: str, value: Any) -> None:
    if isinstance(value, Tensor) and name in vars(module).get("_parameters", ()):
        del module._parameters[name]
    _SET_ATTRIBUTE(module, name, value)


class _Functions(TorchFunctionMode):
    def __init__(self, packings: Packings) -> None:
        super().__init__()
        self._packings = packings

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """See TorchFunctionMode."""
        options = dict(kwargs or {})
        if func in _SORTS:
            # ONNX knows one sort, which leaves equal numbers in their order.
            options.pop("stable", None)
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
        if any(isinstance(value, TracedList) for value in (*args, *options.values())) and not _packs(func):
            _refuse()
        if func is Tensor.__getitem__:
            num_rows = self._packings.num_rows(args[0]) if type(args[1]) is int and args[1] == 0 else None
            if num_rows is not None:
                return num_rows
            return func(args[0], _within(args[0], args[1]))
        return func(*args, **options)


def _packs(func: Callable[..., Any]) -> bool:
    return getattr(func, "__name__", "") in ("pack_padded_sequence", "_pack_padded_sequence")


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
