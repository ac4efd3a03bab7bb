"""A module's return value as a flat list of named tensors, in order."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from export.user_module.packing import Packings
from export.user_module.python_values import attributes_kept, python_values
from models.errors import ExportError, UnsupportedModelError


class FlatOutputs(nn.Module):
    """A module to be traced, whose forward gives a tuple of tensors, whatever the held one gives.

    Args:
        module: it.
        packings: the packed batches of the trace.
    """

    def __init__(self, module: nn.Module, packings: Packings) -> None:
        super().__init__()
        self.module = module
        self._packings = packings

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """As the held module's; the return value flattened. What a call leaves on the module is forgotten."""
        with python_values(self._packings), attributes_kept(self.module):
            value = self.module(*inputs)
        return tuple(tensor for _, tensor in named_tensors(value))


def named_tensors(value: Any) -> list[tuple[str, Tensor]]:
    """Flatten a return value.

    Args:
        value: a tensor, or tuples, lists, dicts, named tuples and dataclasses of them, nested as may be; None is left
            out.

    Returns:
        Each tensor with its name: the keys and fields on its way joined by _, positions where there are none;
        `output`, or `output_0`, `output_1` ..., where the return value has no keys or fields at all.

    Raises:
        UnsupportedModelError: something in it is not a tensor.
    """
    leaves = list(_leaves(value, ()))
    if not leaves:
        raise UnsupportedModelError("The module returns no tensor; a graph needs at least one output.")
    return [("_".join(path if path and not path[0].isdigit() else ("output", *path)), leaf) for path, leaf in leaves]


def output_names(found: Sequence[str], given: Sequence[str] | None, inputs: Sequence[str]) -> list[str]:
    """The names of a graph's outputs.

    Args:
        found: names from the return value, in order.
        given: the user's own, or None.
        inputs: names of the graph's inputs; an output of the same name gets new_ in front.

    Raises:
        ExportError: the user gave another number of names, or the same name twice or an input's.
    """
    if given is None:
        renamed = [f"new_{name}" if name in inputs else name for name in found]
        names = list(dict.fromkeys(renamed))
        return names if len(names) == len(renamed) else [f"output_{index}" for index in range(len(found))]
    if len(given) != len(found):
        raise ExportError(
            f"{len(given)} output names were given ({', '.join(given)}), but the module returns {len(found)} tensors: "
            f"{', '.join(found)}. Name each, in order."
        )
    twice = [name for name in given if name in inputs or list(given).count(name) > 1]
    if twice:
        raise ExportError(f"Output name {twice[0]!r} is another output's or an input's. Every name occurs once.")
    return list(given)


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
        return
    for key, inner in _children(value, path):
        yield from _leaves(inner, (*path, key))


def _children(value: Any, path: tuple[str, ...]) -> list[tuple[str, Any]]:
    if value is None:
        return []
    if isinstance(value, PackedSequence):
        raise UnsupportedModelError(
            f"Output {'_'.join(path) or 'of the module'} is a PackedSequence, which no graph can return: "
            "return pad_packed_sequence(packed)[0]."
        )
    if isinstance(value, Mapping):
        return [(str(key), inner) for key, inner in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, tuple | list):
        return [(str(index), inner) for index, inner in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    raise UnsupportedModelError(
        f"Output {'_'.join(path) or 'of the module'} is {type(value).__name__}, not a tensor: leave it out, or return "
        "tensors only."
    )
