"""Numbers that a user's module treats specially: those in its code, of its attributes and small buffers.

`ids != PAD`, `scores[:, self.banned] = -1e9`, `if token == 3`: what such a line does shows only where that number is
among the inputs, which random ids of a large vocabulary hardly ever hold. Knows nothing of how inputs are drawn.
"""

import inspect
from collections.abc import Iterable, Iterator
from functools import partial
from types import CodeType, FunctionType
from typing import Any

import numpy as np
from torch import Tensor, nn

from export.user_module.source import is_machinery

_MOST_ELEMENTS = 1024  # of a tensor or collection that is taken for a list of ids
_MOST_DEPTH = 3  # of collections inside collections


def integers_of(module: nn.Module) -> list[int]:
    """The integers, sorted, that the code of a module and of its parts names, and that they hold beside their weights.

    Args:
        module: a user's.

    Returns:
        Constants of every method but __init__ and of the functions that it names or holds, attributes and their
        elements, buffers of at most 1024 integers, and the padding_idx of embeddings. Torch's own modules count for
        their attributes only.
    """
    found: set[int] = set()
    seen: set[CodeType] = set()
    for part in module.modules():
        own = [value for name, value in vars(part).items() if not name.startswith("_")]
        given = [value for each in own if isinstance(each, partial) for value in (*each.args, *each.keywords.values())]
        found.update(_integers([*own, *given, *part._buffers.values()]))
        for function in _functions(own):
            found.update(_of_code(function, seen))
        for kind in type(part).__mro__:
            if not _is_users(kind):
                continue
            found.update(_integers(value for name, value in vars(kind).items() if not name.startswith("__")))
            for function in _functions(vars(kind).values()):
                found.update(_of_code(function, seen))
    return sorted(found)


def _is_users(kind: type) -> bool:
    try:
        return not is_machinery(inspect.getfile(kind))
    except (TypeError, OSError):
        return False


def _functions(values: Iterable[Any]) -> Iterator[FunctionType]:
    """The user's functions among values: methods, properties, partial ones too."""
    for value in values:
        inner = value
        for name in ("fget", "func", "__func__", "__wrapped__"):
            inner = getattr(inner, name, inner) if not isinstance(inner, nn.Module) else inner
        if isinstance(inner, FunctionType) and not is_machinery(inner.__code__.co_filename):
            yield inner


def _of_code(function: FunctionType, seen: set[CodeType]) -> Iterator[int]:
    """Of a function, of what it closes over, and of the user's functions and constants that it names."""
    if function.__code__ in seen:
        return
    seen.add(function.__code__)
    yield from _integers(function.__defaults__ or ())
    yield from _integers((function.__kwdefaults__ or {}).values())
    closed = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    codes = list(_codes(function.__code__))
    for code in codes:
        if code.co_name != "__init__":  # sizes of layers; what it keeps is an attribute
            yield from _integers(code.co_consts)
    named = [function.__globals__[name] for code in codes for name in code.co_names if name in function.__globals__]
    yield from _integers([*closed, *named])
    for other in _functions([*closed, *named]):
        yield from _of_code(other, seen)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


def _integers(values: Iterable[Any], depth: int = _MOST_DEPTH) -> Iterator[int]:
    for value in values:
        if isinstance(value, bool):
            continue
        if isinstance(value, int):
            yield value
        elif isinstance(value, np.integer):
            yield int(value)
        elif isinstance(value, Tensor | np.ndarray):
            kind = str(value.dtype).removeprefix("torch.")
            if kind.startswith(("int", "uint")) and len(value.reshape(-1)) <= _MOST_ELEMENTS:
                yield from (int(number) for number in value.reshape(-1).tolist())
        elif isinstance(value, dict) and depth and len(value) <= _MOST_ELEMENTS:
            yield from _integers([*value.keys(), *value.values()], depth - 1)
        elif isinstance(value, list | tuple | set | frozenset) and depth and len(value) <= _MOST_ELEMENTS:
            yield from _integers(value, depth - 1)
        elif depth and _is_record(value):
            yield from _integers(vars(value).values(), depth - 1)


def _is_record(value: Any) -> bool:
    """Whether a value is an object of settings: a user's own, or a namespace."""
    kind = type(value)
    return hasattr(value, "__dict__") and (kind.__name__.endswith("Namespace") or _is_users(kind))
