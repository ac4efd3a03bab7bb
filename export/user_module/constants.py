"""Numbers that a user's module treats specially: those in its code, of its attributes and small buffers.

`ids != PAD`, `scores[:, self.banned] = -1e9`, `if token == 3`: what such a line does shows only where that number is
among the inputs, which random ids of a large vocabulary hardly ever hold. Knows nothing of how inputs are drawn.
"""

import inspect
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any

from torch import Tensor, nn

from export.user_module.source import is_machinery

_MOST_ELEMENTS = 1024  # of a tensor or collection that is taken for a list of ids
_MOST_DEPTH = 3  # of collections inside collections


def integers_of(module: nn.Module) -> list[int]:
    """The integers, sorted, that the code of a module and of its parts names, and that they hold beside their weights.

    Args:
        module: a user's.

    Returns:
        Constants of every method and of the functions that it names, attributes and their elements, buffers of at most
        1024 integers, and the padding_idx of embeddings. Torch's own modules count for their attributes only.
    """
    found: set[int] = set()
    seen: set[CodeType] = set()
    for part in module.modules():
        found.update(_integers(value for name, value in vars(part).items() if not name.startswith("_")))
        found.update(_integers(part._buffers.values()))
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
    for value in values:
        inner = value.fget if isinstance(value, property) else inspect.unwrap(getattr(value, "__func__", value))
        if isinstance(inner, FunctionType):
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
        yield from _integers(code.co_consts)
    named = [function.__globals__[name] for code in codes for name in code.co_names if name in function.__globals__]
    yield from _integers([*closed, *named])
    for other in _functions([*closed, *named]):
        if not is_machinery(other.__code__.co_filename):
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
        elif isinstance(value, Tensor):
            if value.numel() <= _MOST_ELEMENTS and not value.is_floating_point() and not value.is_complex():
                yield from (int(number) for number in value.flatten().tolist())
        elif isinstance(value, dict) and depth and len(value) <= _MOST_ELEMENTS:
            yield from _integers([*value.keys(), *value.values()], depth - 1)
        elif isinstance(value, list | tuple | set | frozenset) and depth and len(value) <= _MOST_ELEMENTS:
            yield from _integers(value, depth - 1)
