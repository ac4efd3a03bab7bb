"""Which names Python code reads and sets, and which are live: what a loop carries from step to step. Knows no torch."""

import ast
from collections.abc import Iterable, Iterator, Sequence

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Names = frozenset[str]
NONE: Names = frozenset()


def loads(node: ast.AST | None) -> Names:
    """Names that an expression or a statement reads, those of comprehensions and inner functions left out."""
    if node is None:
        return NONE
    if isinstance(node, ast.Name):
        return frozenset([node.id]) if isinstance(node.ctx, ast.Load) else NONE
    if isinstance(node, _COMPREHENSIONS):
        own = _union(stores(generator.target) for generator in node.generators)
        return _union(loads(child) for child in ast.iter_child_nodes(node)) - own
    if isinstance(node, _SCOPES):
        own = frozenset(argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg))
        body = node.body if isinstance(node.body, list) else [node.body]
        return _union(loads(part) for part in (*body, node.args)) - own - _union(stores(part) for part in body)
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        return loads(node.value) | {node.target.id}
    return _union(loads(child) for child in ast.iter_child_nodes(node))


def stores(node: ast.AST) -> Names:
    """Names that a target, an expression or a statement sets, in the scope that it stands in."""
    if isinstance(node, ast.Name):
        return frozenset([node.id]) if isinstance(node.ctx, ast.Store | ast.Del) else NONE
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return frozenset([node.name])
    if isinstance(node, (ast.Lambda, *_COMPREHENSIONS)):
        return NONE
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):  # h[0] = ... changes h
        base = _base(node)
        return frozenset([base]) if base is not None else NONE
    return _union(stores(child) for child in ast.iter_child_nodes(node))


def changed_in_place(statements: Sequence[ast.stmt]) -> Names:
    """Names whose value is changed rather than set anew: `h[0] = x`, `h += x`, `h.add_(x)`, `h.append(x)`."""
    found = set()
    for node in (node for statement in statements for node in ast.walk(statement)):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store) and (base := _base(node)) is not None:
            found.add(base)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = node.func.attr
            is_in_place = (name.endswith("_") and not name.startswith("_")) or name in ("append", "extend", "update")
            if is_in_place and isinstance(node.func.value, ast.Name):
                found.add(node.func.value.id)
    return frozenset(found)


def live(statements: Sequence[ast.stmt], out: Names, around: Names = NONE) -> Names:
    """Names whose values before the statements may be read, in them or after.

    Args:
        statements: in order.
        out: live after them.
        around: live where a break or continue among them leads to.
    """
    for statement in reversed(statements):
        out = live_before(statement, out, around)
    return out


def live_before(statement: ast.stmt, out: Names, around: Names = NONE) -> Names:
    """As live, of one statement."""
    match statement:
        case ast.If():
            return loads(statement.test) | live(statement.body, out, around) | live(statement.orelse, out, around)
        case ast.For() | ast.AsyncFor():
            inside = live_in_loop(statement, out)
            return loads(statement.iter) | inside | live(statement.orelse, out, around)
        case ast.While():
            inside = live_in_loop(statement, out)
            return loads(statement.test) | inside | live(statement.orelse, out, around)
        case ast.With() | ast.AsyncWith():
            own = _union(stores(item.optional_vars) for item in statement.items if item.optional_vars is not None)
            return _union(loads(item) for item in statement.items) | (live(statement.body, out, around) - own)
        case ast.Return() | ast.Raise():
            return loads(statement)
        case ast.Break() | ast.Continue():
            return out | around
        case ast.Assign() | ast.AnnAssign():
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            killed = _union(stores(target) for target in targets if not _is_part(target))
            return (out - (killed - _union(loads(target) for target in targets))) | loads(statement)
        case ast.FunctionDef():
            return (out - {statement.name}) | loads(statement)
        case _:
            return out | loads(statement)  # a try, a match: whatever they read


def live_in_loop(loop: ast.For | ast.AsyncFor | ast.While, out: Names) -> Names:
    """Names live before each turn of a loop that has `out` live after it."""
    target = NONE if isinstance(loop, ast.While) else stores(loop.target)
    test = loads(loop.test) if isinstance(loop, ast.While) else NONE
    inside = out | test
    while True:
        before = inside | (live(loop.body, inside, inside) - target)
        if before == inside:
            return inside
        inside = before


def _is_part(target: ast.expr) -> bool:
    return isinstance(target, ast.Subscript | ast.Attribute)


def _base(node: ast.expr) -> str | None:
    """H of `h[0]["a"]`."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _union(parts: Iterable[Names] | Iterator[Names]) -> Names:
    return frozenset().union(*parts)
