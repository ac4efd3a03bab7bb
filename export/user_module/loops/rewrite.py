"""A function with its loops over time as scans, made from its source; what runs over a number of steps stays as it is.

Each loop that may go over time becomes two: an `if` asks, while the forward is traced, whether the axis is free. If so
the body is a step, from what it reads at `t` and the names that it carries to what it puts into lists and tensors and
what these names are then (models.network.scan). Else the loop runs as it was written.
"""

import ast
import copy
import inspect
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

from export.user_module.loops.headers import Header, header_of
from export.user_module.loops.names import NONE, Names, live_before, live_in_loop
from export.user_module.loops.over_time import TRACING, OverTime, assigned, tracing_call
from export.user_module.loops.refused import RefusedError

_JOINING = ("stack", "cat", "concat", "concatenate")


def rewritten(function: FunctionType, tracing: Any, *, is_beside: bool = False) -> FunctionType | None:
    """The function for one trace; None where it has no loop that could go over time, or no source.

    Args:
        function: of a user's class.
        tracing: a Tracing.
        is_beside: whether another function of the model has such a loop, so that this one may be given its lists.
    """
    try:
        source = textwrap.dedent(inspect.getsource(function))
        tree = ast.parse(source)
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    found = tree.body[0]
    if not isinstance(found, ast.FunctionDef) or found.name != function.__name__:
        return None
    ast.increment_lineno(tree, function.__code__.co_firstlineno - 1)
    work = _Function(found, Path(function.__code__.co_filename).name, source.splitlines())
    found.body = work.visited(found.body, NONE)
    calls = _Calls(_owner(function))
    calls.visit(found)
    if not work.num_loops and not (is_beside and calls.num_changed):
        return None
    return _compiled(function, found, tracing)


def _owner(function: FunctionType) -> str | None:
    parts = function.__qualname__.split(".")
    return parts[-2].lstrip("_") if len(parts) > 1 and parts[-2] != "<locals>" else None


def _compiled(function: FunctionType, tree: ast.FunctionDef, tracing: Any) -> FunctionType:
    """As the function, in its own globals and with its own closure."""
    tree.decorator_list, tree.returns = [], None
    for argument in ast.walk(tree.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    tree.args.defaults = [ast.Constant(None) for _ in tree.args.defaults]
    tree.args.kw_defaults = [None if each is None else ast.Constant(None) for each in tree.args.kw_defaults]
    free = function.__code__.co_freevars
    names = [TRACING, *free]
    maker = ast.parse(f"def __made({', '.join(names)}):\n    return {tree.name}").body[0]
    assert isinstance(maker, ast.FunctionDef)
    maker.body.insert(0, tree)
    module = ast.fix_missing_locations(ast.Module([maker], []))
    made: dict[str, Any] = {}
    exec(compile(module, function.__code__.co_filename, "exec"), function.__globals__, made)
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    found: FunctionType = made["__made"](tracing, *cells)
    found.__defaults__, found.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    found.__qualname__, found.__module__ = function.__qualname__, function.__module__
    return found


class _Calls(ast.NodeTransformer):
    """Calls that a list of the time axis, or a free size, may be given to; and private names as in their class."""

    def __init__(self, owner: str | None) -> None:
        self._owner = owner
        self.num_changed = 0

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        is_plain = isinstance(node.func, ast.Name) and len(node.args) == 1 and not node.keywords
        if name == "len" and is_plain:
            self.num_changed += 1
            return tracing_call("length", *node.args)
        if name in ("list", "tuple", "reversed") and is_plain:
            self.num_changed += 1
            return tracing_call("listed", node.func, *node.args)
        if name in _JOINING and node.args:
            made = tracing_call("joined", node.func, *node.args)
            made.keywords = node.keywords
            self.num_changed += 1
            return made
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.Mult) and isinstance(node.left, ast.List) and len(node.left.elts) == 1:
            return tracing_call("times", node.left, node.right)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        is_private = node.attr.startswith("__") and not node.attr.endswith("__")
        is_ours = isinstance(node.value, ast.Name) and node.value.id == TRACING
        if is_private and not is_ours and self._owner:
            node.attr = f"_{self._owner}{node.attr}"
        return node


class _Function:
    """The statements of one function.

    Args:
        function: its source.
        file: its name, for messages.
        source: its lines.
    """

    def __init__(self, function: ast.FunctionDef, file: str, source: Sequence[str]) -> None:
        self.first_line = function.lineno - len(function.decorator_list) if function.decorator_list else function.lineno
        self.file = file
        self.source = source
        self.num_loops = 0

    def visited(self, statements: Sequence[ast.stmt], out: Names, around: Names = NONE) -> list[ast.stmt]:
        """Statements with their loops rewritten; `out` is what is live after them."""
        found: list[ast.stmt] = []
        for statement in reversed(statements):
            after = out
            out = live_before(statement, out, around)
            found[:0] = self._visited(statement, after, around)
        return found

    def _visited(self, statement: ast.stmt, out: Names, around: Names) -> list[ast.stmt]:
        match statement:
            case ast.For() if not statement.orelse:
                return self._loop(statement, out)
            case ast.For() | ast.While():
                inside = live_in_loop(statement, out)
                statement.body = self.visited(statement.body, inside, inside)
            case ast.If():
                statement.body = self.visited(statement.body, out, around)
                statement.orelse = self.visited(statement.orelse, out, around)
            case ast.With():
                statement.body = self.visited(statement.body, out, around)
        return [statement]

    def _loop(self, loop: ast.For, out: Names) -> list[ast.stmt]:
        number = self.num_loops
        original = copy.deepcopy(loop)
        inside = live_in_loop(loop, out)
        prefix = f"__over{number}"
        header = header_of(loop, prefix)
        if header is None:
            loop.body = self.visited(loop.body, inside, inside)
            return [loop]
        self.num_loops += 1
        plain = copy.deepcopy(loop)
        plain.body = self.visited(plain.body, inside, inside)
        name = f"__loop{number}"
        hoisted = [assigned(own, value) for own, value in header.hoisted.items()]
        try:
            over_time = OverTime(original, header, self.file, number, inside, out).statements()
        except RefusedError as error:
            text = error.message(self.file, original, self.source, self.first_line)
            over_time = [ast.Expr(tracing_call("refuse", ast.Constant(text)))]
        asked = ast.If(ast.Compare(ast.Name(name, ast.Load()), [ast.IsNot()], [ast.Constant(None)]), over_time, [plain])
        made = [*hoisted, assigned(name, _loop_of(header)), asked]
        for statement in made:
            for node in ast.walk(statement):
                if not hasattr(node, "lineno"):
                    ast.copy_location(node, original)
                    node.end_lineno = original.lineno  # type: ignore[attr-defined]  # a call is where it ends
        return made


def _loop_of(header: Header) -> ast.expr:
    if header.bounds:
        return tracing_call("over_range", *header.bounds, ast.Constant(header.is_flipped))
    return tracing_call("over", *(ast.Tuple([each.value, each.axis], ast.Load()) for each in header.iterables))
