"""What a loop over time may not do in a graph: the sentence, with the line and the rewrite in the user's own names."""

import ast
import copy
from collections.abc import Callable, Sequence


class RefusedError(Exception):
    """A loop cannot be rewritten.

    Args:
        node: where.
        what: what that line does.
        instead: lines to write instead.
    """

    def __init__(self, node: ast.AST, what: str, instead: Sequence[str]) -> None:
        super().__init__(what)
        self.node = node
        self.what = what
        self.instead = list(instead)

    def message(self, file: str, loop: ast.For, source: Sequence[str], first_line: int) -> str:
        """The sentence, for a loop in a file whose function begins at a line."""
        line = getattr(self.node, "lineno", loop.lineno)
        index = line - first_line
        text = source[index].strip() if 0 <= index < len(source) else ast.unparse(self.node)
        header = _header(loop).rstrip(":")
        instead = "".join(f"\n    {line}" for line in self.instead)
        return (
            f"{file}, line {line} ({text}): the loop `{header}` in line {loop.lineno} goes over a free axis, and there "
            f"{self.what}. Write instead:{instead}"
        )


def position_as_number(statement: ast.stmt, node: ast.AST, index: str, count: str) -> RefusedError:
    """T in an expression: the number of a step."""
    name = "positions"
    changed = _shown(statement, lambda part: _named(part, index), f"{name}[{index}]")
    return RefusedError(
        node,
        f"{index} is used as a number, of which a graph's step has none",
        [f"{name} = torch.arange({count})  # before the loop", *changed],
    )


def length_as_number(statement: ast.stmt, node: ast.AST, count: str) -> RefusedError:
    """The number of steps inside of one."""
    name = "num_steps"
    changed = _shown(statement, lambda part: ast.unparse(part) == count, name)
    return RefusedError(
        node,
        f"{count}, the number of steps, is used as a number in a step",
        [f"{name} = torch.full((), {count})  # before the loop", *changed],
    )


def step_back(statement: ast.stmt, node: ast.Subscript, axis: int, index: str, back: int) -> RefusedError:
    """`x[:, t - 1]`: a frame of another step."""
    value, slices = ast.unparse(node.value), ":, " * axis
    name = f"{node.value.attr if isinstance(node.value, ast.Attribute) else value}_before"
    first, kept = f"{value}[{slices}:{abs(back)}]", f"{value}[{slices}:-{abs(back)}]"
    joined = f"[torch.zeros_like({first}), {kept}]"
    if back < 0:
        name = name.replace("_before", "_after")
        first, kept = f"{value}[{slices}-{-back}:]", f"{value}[{slices}{-back}:]"
        joined = f"[{kept}, torch.zeros_like({first})]"
    changed = _shown(statement, lambda part: part is node, f"{name}[{slices}{index}]", node)
    steps = "one step" if abs(back) == 1 else f"{abs(back)} steps"
    return RefusedError(
        node,
        f"a value from {steps} {'back' if back > 0 else 'ahead'} is read",
        [f"{name} = torch.cat({joined}, dim={axis})  # before the loop", *changed],
    )


def list_read(statement: ast.stmt, node: ast.AST, name: str, put: str) -> RefusedError:
    """A list, or a tensor, that the loop fills is read in the loop."""
    parts = [part for part in ast.walk(statement) if isinstance(part, ast.Subscript) and isinstance(part.ctx, ast.Load)]
    read = next((part for part in parts if _named(part.value, name)), None)
    inner = None if read is None else ast.unparse(read)
    if inner is not None and (inner == f"{name}[-1]" or ":" in inner):
        first = inner if inner == f"{name}[-1]" else f"{name}[:, 0]"
        value = put.replace(inner, "last")
        head = ast.unparse(statement).splitlines()[0]
        changed = [] if put in head else _shown(statement, lambda _: False, "last", read)
        return RefusedError(
            node,
            f"{name}, which the loop fills, is read",
            [
                f"last = {first}  # before the loop; where {name} is empty then: torch.zeros(batch, width)",
                *changed,
                f"last = {value}",
                f"{name}.append(last)"
                if first == inner
                else "outputs.append(last)  # torch.stack(outputs, dim=1) after",
            ],
        )
    return RefusedError(
        node,
        f"the list {name} is read, which grows with every step",
        [
            f"memory = torch.zeros(batch, NUMBER, width)  # before the loop: of fixed size, in place of {name}",
            f"memory = torch.cat([memory[:, 1:], ({put}).unsqueeze(1)], dim=1)  # in each step: the last NUMBER values",
        ],
    )


def conditional_append(node: ast.AST, name: str) -> RefusedError:
    """A list that some steps put something into, or several things."""
    return RefusedError(
        node,
        f"a step puts into the list {name} none or several elements, or does so on a condition",
        [
            f"{name}.append(torch.where(condition, value, torch.zeros_like(value)))  # once in every step",
        ],
    )


def begins_otherwise(statement: ast.If, loop: ast.For) -> RefusedError:
    """`if h is None`: what the first step begins with is made inside of it."""
    before = [line for part in statement.body for line in ast.unparse(part).splitlines()]
    return RefusedError(
        statement,
        f"the first step is another than the rest (`{ast.unparse(statement.test)}`)",
        [*before, _header(loop), *_indented([*statement.orelse, *_after(loop, statement)])],
    )


def decides_by_position(statement: ast.If, loop: ast.For, index: str, count: str) -> RefusedError:
    """`if t == 0`, or another question about the number of a step."""
    test = ast.unparse(statement.test)
    is_first, is_later = (
        test in (f"{index} == 0", f"0 == {index}", f"not {index}"),
        test in (f"{index} > 0", f"{index} != 0", index, f"{index} >= 1", f"0 < {index}"),
    )
    if not is_first and not is_later:
        asked = _shown(ast.Expr(statement.test), lambda part: _named(part, index), f"positions[{index}]")[0]
        return RefusedError(
            statement,
            f"{index} is used as a number, of which a graph's step has none",
            [
                f"positions = torch.arange({count})  # before the loop",
                f"value = torch.where({asked}, one_value, other_value)  # in place of the if",
            ],
        )
    first, later = statement.body, statement.orelse
    if is_later:
        first, later = later, first
    rest = _after(loop, statement)
    before = [line for part in [*first, *rest] for line in _as_number(part, index).splitlines()]
    is_range = isinstance(loop.iter, ast.Call) and ast.unparse(loop.iter) == f"range({count})"
    header = f"for {index} in range(1, {count}):" if is_range else f"{_header(loop)}  # from the second frame on"
    what = f"the first step is another than the rest (`{test}`)"
    return RefusedError(statement, what, [*before, header, *_indented([*later, *rest])])


def _header(loop: ast.For) -> str:
    return f"for {_target(loop)} in {ast.unparse(loop.iter)}:"


def _target(loop: ast.For) -> str:
    return ast.unparse(loop.target).strip("()")


def _after(loop: ast.For, statement: ast.stmt) -> list[ast.stmt]:
    """What stands after a statement of the loop."""
    places = [place for place, part in enumerate(loop.body) if part is statement]
    return loop.body[places[0] + 1 :] if places else []


def _indented(statements: Sequence[ast.stmt]) -> list[str]:
    return [f"    {line}" for part in statements for line in ast.unparse(part).splitlines()]


def leaves_loop(node: ast.AST, condition: ast.expr | None, states: Sequence[str]) -> RefusedError:
    """Break, continue, return: a number of steps that depends on values."""
    word = type(node).__name__.lower()
    test = "condition" if condition is None else ast.unparse(condition)
    kept = [
        f"{name} = torch.where(is_done.unsqueeze(1), {name}, new_{name})  # new_{name}: as it is set now"
        for name in states
    ]
    return RefusedError(
        node,
        f"{word} ends a step or the loop before its end, and a graph runs every step whole",
        [
            "is_done = torch.zeros(batch, dtype=torch.bool)  # before the loop",
            f"is_done = is_done | ({test})  # of each row, in place of {word}",
            *kept,
        ],
    )


def kept_on_module(statement: ast.stmt, node: ast.Attribute) -> RefusedError:
    """`self.h = ...` in a step."""
    attribute = ast.unparse(node)
    name = node.attr
    changed = _shown(statement, lambda part: ast.unparse(part) == attribute, name)
    return RefusedError(
        node,
        f"{attribute} is set, so the module keeps something between calls",
        [f"{name} = ...  # before the loop: an argument of forward, which returns it", *changed],
    )


def other_use(node: ast.AST, what: str, instead: str) -> RefusedError:
    """Whatever else."""
    return RefusedError(node, what, [instead])


def not_a_tensor(file: str, statement: ast.stmt) -> str:
    """About a state that begins as something else: @name, @found and @instead are filled in when that is known."""
    return (
        f"{file}, line {statement.lineno} ({ast.unparse(statement).splitlines()[0]}): the loop goes over a free axis, "
        "and @name is @found before it and a tensor after its first step, so the first step is another than the "
        "rest. Begin with a tensor of the shape and dtype that it gets:\n    @name = @instead  # before the loop"
    )


def _named(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _shown(statement: ast.stmt, is_old: Callable[[ast.AST], bool], new: str, exact: ast.AST | None = None) -> list[str]:
    """The lines of a statement's head with another expression in some places."""
    mark = ast.unparse(exact) if exact is not None else None
    replacement = ast.parse(new, mode="eval").body

    class Replace(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            is_hit = ast.unparse(node) == mark if mark is not None and isinstance(node, ast.expr) else False
            if isinstance(node, ast.expr) and (is_hit or (mark is None and is_old(node))):
                return copy.deepcopy(replacement)
            found: ast.AST = super().visit(node)
            return found

    return ast.unparse(ast.fix_missing_locations(Replace().visit(copy.deepcopy(statement)))).splitlines()[:4]


def _as_number(statement: ast.stmt, index: str | None) -> str:
    """A statement at the first step, with 0 for t."""

    class First(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            return ast.Constant(0) if node.id == index else node

    return ast.unparse(ast.fix_missing_locations(First().visit(copy.deepcopy(statement))))
