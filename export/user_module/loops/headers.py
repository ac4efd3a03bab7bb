"""What a loop goes over, read from its header: `range(T)`, `x.unbind(1)`, `enumerate`, `zip`, `reversed`.

Whether that is time shows only when the forward is traced, where a free size is a symbol and a number of layers is not.
Knows no torch.
"""

import ast
import copy
from dataclasses import dataclass, field
from typing import TypeGuard


@dataclass
class Iterable:
    """One of the things that a loop goes over together.

    Attributes:
        value: the tensor, or whatever is iterated.
        axis: of the tensor.
        target: what each element is called.
        has_axis: whether an element keeps the axis with size 1, as of `x.split(1, dim=1)`.
        is_flipped: from the last to the first.
    """

    value: ast.expr
    axis: ast.expr
    target: ast.expr
    has_axis: bool = False
    is_flipped: bool = False


@dataclass
class Header:
    """A loop's header.

    Attributes:
        index: the name that counts, `t`; None where there is none.
        bounds: start, stop and step of a range; empty where the loop goes over tensors.
        is_flipped: a `reversed(range(...))`.
        iterables: the tensors.
        hoisted: names that stand for expressions in the loop's own header: name -> expression.
    """

    index: str | None = None
    bounds: list[ast.expr] = field(default_factory=list)
    is_flipped: bool = False
    iterables: list[Iterable] = field(default_factory=list)
    hoisted: dict[str, ast.expr] = field(default_factory=dict)


def header_of(loop: ast.For, prefix: str) -> Header | None:
    """Read a header; tensors in it are called by names of their own from then on, so that they are computed once.

    Args:
        loop: changed in place.
        prefix: of those names.

    Returns:
        It, or None where it cannot go over time.
    """
    found, target, iterated = Header(), loop.target, loop.iter
    if _is_call(iterated, "enumerate") and len(iterated.args) == 1 and not iterated.keywords:
        if not (isinstance(target, ast.Tuple) and len(target.elts) == 2 and isinstance(target.elts[0], ast.Name)):
            return None
        found.index, target, iterated = target.elts[0].id, target.elts[1], iterated.args[0]
    if _is_call(iterated, "reversed") and len(iterated.args) == 1 and _is_call(iterated.args[0], "range"):
        found.is_flipped, iterated = True, iterated.args[0]
    if _is_call(iterated, "range"):
        if not isinstance(target, ast.Name) or found.index is not None or iterated.keywords:
            return None
        zero, one = ast.Constant(0), ast.Constant(1)
        given = iterated.args
        found.index = target.id
        found.bounds = [zero, given[0], one] if len(given) == 1 else [*given, one][:3]
        return found
    if _is_call(iterated, "zip"):
        if not isinstance(target, ast.Tuple) or len(target.elts) != len(iterated.args) or iterated.keywords:
            return None
        pairs = list(zip(iterated.args, target.elts, strict=True))
    else:
        pairs = [(iterated, target)]
    for place, own in pairs:
        read = _iterable(place, own)
        name = f"{prefix}_{len(found.iterables)}"
        found.hoisted[name] = copy.deepcopy(read.value)
        _replace(loop, read.value, name)
        read.value = ast.Name(name, ast.Load())
        found.iterables.append(read)
    return found


def _iterable(place: ast.expr, target: ast.expr) -> Iterable:
    if _is_call(place, "reversed", "list", "tuple", "iter") and len(place.args) == 1:
        inner = _iterable(place.args[0], target)
        inner.is_flipped ^= place.func.id == "reversed"  # type: ignore[attr-defined]
        return inner
    if isinstance(place, ast.Subscript) and ast.unparse(place.slice) == "::-1" and _unbound(place.value) is not None:
        inner = _iterable(place.value, target)
        inner.is_flipped = not inner.is_flipped
        return inner
    found = _unbound(place)
    if found is None:
        return Iterable(place, ast.Constant(0), target)
    value, axis, has_axis = found
    return Iterable(value, axis, target, has_axis)


def _unbound(place: ast.expr) -> tuple[ast.expr, ast.expr, bool] | None:
    """`x.unbind(1)` and `x.split(1, dim=1)`, and the same of torch: the tensor, the axis, whether the axis stays."""
    if not isinstance(place, ast.Call) or not isinstance(place.func, ast.Attribute):
        return None
    arguments = list(place.args)
    if isinstance(place.func.value, ast.Name) and place.func.value.id == "torch":
        if not arguments:
            return None
        value = arguments.pop(0)
    else:
        value = place.func.value
    named = {keyword.arg: keyword.value for keyword in place.keywords}
    if place.func.attr == "unbind" and len(arguments) <= 1:
        return value, arguments[0] if arguments else named.get("dim", ast.Constant(0)), False
    if place.func.attr == "split" and arguments and ast.unparse(arguments[0]) == "1":
        return value, arguments[1] if len(arguments) > 1 else named.get("dim", ast.Constant(0)), True
    return None


def _is_call(node: ast.expr, *names: str) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def _replace(loop: ast.For, part: ast.expr, name: str) -> None:
    """A name in the place of a part of the header."""

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return ast.copy_location(ast.Name(name, ast.Load()), part) if node is part else super().visit(node)

    found = Replace().visit(loop.iter)
    assert isinstance(found, ast.expr)
    loop.iter = found
