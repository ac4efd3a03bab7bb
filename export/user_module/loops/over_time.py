"""One loop over time as a step that is repeated: what it reads, carries and makes, from its source."""

import ast
import copy
from collections.abc import Sequence
from typing import Any

from export.user_module.loops import refused
from export.user_module.loops.headers import Header
from export.user_module.loops.names import NONE, Names, changed_in_place, live, loads, stores

TRACING = "__tracing"  # what the rewritten code calls: export.user_module.loops.traced.Tracing


class OverTime:
    """One loop as a step that is repeated.

    Args:
        loop: as it was written; stays as it is.
        header: of it.
        file: that it stands in, for messages.
        number: of the loop in its function.
        inside: names live before each turn.
        out: names live after the loop.
    """

    def __init__(self, loop: ast.For, header: Header, file: str, number: int, inside: Names, out: Names) -> None:
        self.loop = loop
        self.header = header
        self.file = file
        self.name = f"__loop{number}"
        self.number = number
        self.out = out
        self.body = copy.deepcopy(loop.body)
        self.set = frozenset().union(*(stores(statement) for statement in self.body))
        self.carried_before = sorted(self.set & inside)
        self.index = header.index
        self.count = ast.unparse(header.bounds[1]) if header.bounds else None
        if header.bounds and ast.unparse(header.bounds[2]) != "1":
            self.count = None
        self.size = self.count or "x.size(1)"  # in messages: how many steps there are
        if header.iterables:
            (value, *_), axis = header.hoisted.values(), ast.unparse(header.iterables[0].axis)
            self.size = f"{ast.unparse(value)}.size({axis})"
        self.frames: list[tuple[str, ast.expr]] = []  # name in the step, how it is made before the loop
        self.emitted: list[tuple[str, ast.stmt]] = []  # name in the step, what is done with it after the loop
        self.lists: dict[str, str] = {}  # filled by the loop: name -> what is put into it
        self.statement: ast.stmt = loop

    def statements(self) -> list[ast.stmt]:
        """The rewritten loop.

        Raises:
            RefusedError: it does what a graph's loop cannot.
        """
        for each in self.header.iterables:
            frame = self._frame(each.value, each.axis, is_flipped=each.is_flipped)
            taken: ast.expr = ast.Name(frame, ast.Load())
            if each.has_axis:
                taken = ast.Call(ast.Attribute(taken, "unsqueeze", ast.Load()), [each.axis], [])
            self.body.insert(len(self.frames) - 1, ast.Assign([copy.deepcopy(each.target)], taken))
        num_targets = len(self.header.iterables)
        self._check(self.body[num_targets:])
        body = list(self.body[:num_targets])
        for statement in self.body[num_targets:]:
            self.statement = copy.deepcopy(statement)
            body.extend(self._rewritten(statement))
        carried = self._carried(body)
        lasts = sorted((frozenset().union(*(stores(each) for each in body)) & self.out) - set(carried))
        return self._made(body, carried, lasts)

    def _carried(self, body: Sequence[ast.stmt]) -> list[str]:
        own = frozenset().union(*(stores(statement) for statement in body))
        inside = NONE
        while True:
            before = inside | (live(body, self.out | inside) & own)
            if before == inside:
                return sorted(inside)
            inside = before

    def _made(self, body: list[ast.stmt], carried: list[str], lasts: list[str]) -> list[ast.stmt]:
        number = self.number
        step, after, given = f"__step{number}", f"__after{number}", f"__given{number}"
        copied = [
            assigned(name, tracing_call("own", ast.Name(name, ast.Load())))
            for name in carried
            if name in changed_in_place(body)
        ]
        unpacked = [_unpacked([name for name, _ in self.frames], given)] if self.frames else []
        names = [*(name for name, _ in self.emitted), *lasts]
        values: list[ast.expr] = [ast.Name(name, ast.Load()) for name in names]
        states: list[ast.expr] = [ast.Name(name, ast.Load()) for name in carried]
        returned = ast.Return(ast.Tuple([ast.Tuple(values, ast.Load()), *states], ast.Load()))
        arguments = ast.arguments([], [ast.arg(given), *(ast.arg(name) for name in carried)], None, [], [], None, [])
        function = ast.FunctionDef(step, arguments, [*unpacked, *copied, *body, returned], [])
        texts = [refused.not_a_tensor(self.file, self._setting(name)) for name in carried]
        run = tracing_call(
            "run",
            ast.Name(self.name, ast.Load()),
            ast.Name(step, ast.Load()),
            ast.Tuple([made for _, made in self.frames], ast.Load()),
            ast.Tuple([ast.Name(name, ast.Load()) for name in carried], ast.Load()),
            ast.Tuple([ast.Constant(name) for name in carried], ast.Load()),
            ast.Tuple([ast.Constant(text) for text in texts], ast.Load()),
        )
        all_values = f"__values{number}"
        found: list[ast.stmt] = [function, _unpacked([all_values, after], run)]
        if carried:
            found.append(_unpacked(carried, after))
        for place, (_, use) in enumerate(self.emitted):
            part = ast.Subscript(ast.Name(all_values, ast.Load()), ast.Constant(place), ast.Load())
            found.append(_Filled(part).visit(use))
        for place, name in enumerate(lasts, len(self.emitted)):
            part = ast.Subscript(ast.Name(all_values, ast.Load()), ast.Constant(place), ast.Load())
            found.append(assigned(name, tracing_call("last", part)))
        return found

    def _setting(self, name: str) -> ast.stmt:
        """The statement of the loop that sets a name."""
        return next(
            (
                each
                for each in ast.walk(self.loop)
                if isinstance(each, ast.stmt)
                and name in stores(each)
                and not isinstance(each, ast.For | ast.If | ast.With)
            ),
            self.loop,
        )

    def _check(self, body: Sequence[ast.stmt]) -> None:
        """Find the lists and tensors that the loop fills; refuse what no rewriting can keep."""
        for statement in body:
            put = _put(statement)
            if put is not None and put[0] not in self.set - {put[0]} and not self._is_set(put[0], body, statement):
                name, value, _ = put
                if name in self.lists:
                    raise refused.conditional_append(statement, name)
                self.lists[name] = ast.unparse(value)
            target = _target(statement)
            if target is not None and self.index is not None and self.index in loads(target.slice):
                if not isinstance(target.value, ast.Name):
                    raise refused.other_use(
                        statement,
                        f"{ast.unparse(target.value)} is filled step by step",
                        f"out = {ast.unparse(target.value)}  # before the loop: a name of its own",
                    )
                self.lists[target.value.id] = ast.unparse(statement.value)  # type: ignore[attr-defined]
        for statement in body:
            self.statement = statement
            self._check_leaving(statement, None, depth=0)
            for node in ast.walk(statement):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    raise refused.kept_on_module(statement, node)
                if isinstance(node, ast.If):
                    self._check_test(node)
                filled, put = _appended(node), _put(statement)
                is_own = put is not None and put[0] == filled
                if filled is not None and not is_own and not self._is_set(filled, body, None):
                    raise refused.conditional_append(node, filled)

    def _is_set(self, name: str, body: Sequence[ast.stmt], but: ast.stmt | None) -> bool:
        """Whether the loop itself makes the list anew."""
        nodes = (node for each in body if each is not but for node in ast.walk(each))
        return any(isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == name for node in nodes)

    def _check_test(self, node: ast.If) -> None:
        compared = node.test
        is_none = (
            isinstance(compared, ast.Compare)
            and len(compared.ops) == 1
            and isinstance(compared.ops[0], ast.Is)
            and isinstance(compared.left, ast.Name)
            and compared.left.id in self.set
            and ast.unparse(compared.comparators[0]) == "None"
        )
        is_empty = isinstance(compared, ast.UnaryOp | ast.Name | ast.Compare | ast.Call) and bool(
            loads(compared) & set(self.lists)
        )
        if is_empty:
            name = sorted(loads(compared) & set(self.lists))[0]
            raise refused.list_read(ast.Expr(compared), node, name, self.lists[name])
        if is_none:
            raise refused.begins_otherwise(node, self._loop_now())
        if self.index is not None and self.index in loads(compared):
            raise refused.decides_by_position(node, self._loop_now(), self.index, self.size)

    def _loop_now(self) -> ast.For:
        """The loop as it was written, its statements those that are looked at."""
        found = copy.copy(self.loop)
        found.body = self.body[len(self.header.iterables) :]
        return found

    def _check_leaving(self, node: ast.AST, condition: ast.expr | None, depth: int) -> None:
        if isinstance(node, ast.Return) or (isinstance(node, ast.Break | ast.Continue) and not depth):
            raise refused.leaves_loop(node, condition, self.carried_before)
        if isinstance(node, ast.Yield | ast.YieldFrom | ast.Await):
            raise refused.other_use(node, "a value is handed out in the midst of a step", "outputs.append(value)")
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            return
        inner = depth + isinstance(node, ast.For | ast.While)
        test = node.test if isinstance(node, ast.If) else condition
        for child in ast.iter_child_nodes(node):
            self._check_leaving(child, test, inner)

    def _rewritten(self, statement: ast.stmt) -> list[ast.stmt]:
        put = _put(statement)
        if put is not None and put[0] in self.lists:
            name, value, is_front = put
            own = self._emit(assigned(name, tracing_call("collected", ast.Name(name, ast.Load()), _Filled.MARK)))
            call = self.emitted[-1][1].value  # type: ignore[attr-defined]
            call.keywords = [ast.keyword("is_front", ast.Constant(is_front))]
            return [assigned(own, self._read(value))]
        target = _target(statement)
        if target is not None and self.index is not None and self.index in loads(target.slice):
            axis, is_flipped, rest = self._place(target)
            if any(ast.unparse(part) != ":" for part in rest):
                raise refused.other_use(
                    statement,
                    "a part of a step's place is set",
                    f"{ast.unparse(target.value)}[{':, ' * max(axis, 0)}{self.index}] = ...  # whole, the parts joined",
                )
            name = target.value.id  # type: ignore[attr-defined]
            loop, before = ast.Name(self.name, ast.Load()), ast.Name(name, ast.Load())
            use = tracing_call("written", loop, before, _Filled.MARK, _number(axis), ast.Constant(is_flipped))
            own = self._emit(assigned(name, use))
            return [assigned(own, self._read(statement.value))]  # type: ignore[attr-defined]
        return [self._read(statement)]

    def _emit(self, use: ast.stmt) -> str:
        name = f"__put{self.number}_{len(self.emitted)}"
        self.emitted.append((name, use))
        return name

    def _read(self, node: Any) -> Any:
        return _Reads(self).visit(node)

    def _frame(self, value: ast.expr, axis: ast.expr, *, is_flipped: bool) -> str:
        made = tracing_call(
            "frames", ast.Name(self.name, ast.Load()), copy.deepcopy(value), axis, ast.Constant(is_flipped)
        )
        for name, other in self.frames:
            if ast.dump(other) == ast.dump(made):
                return name
        name = f"__frame{self.number}_{len(self.frames)}"
        self.frames.append((name, made))
        return name

    def _place(self, node: ast.Subscript) -> tuple[int, bool, list[ast.expr]]:
        """Where in an index the step stands: the axis, whether counted from the end, the rest of the index.

        Raises:
            RefusedError: it is another step than this one, or behind a part of an axis.
        """
        assert self.index is not None
        parts = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        at = [place for place, part in enumerate(parts) if self.index in loads(part)]
        if len(at) != 1:
            raise refused.position_as_number(self.statement, node, self.index, self.size)
        place = at[0]
        before, text = parts[:place], ast.unparse(parts[place])
        has_dots = any(ast.unparse(part) == "..." for part in before)
        axis = place - len(parts) if has_dots else place
        if any(ast.unparse(part) not in (":", "...") for part in before):
            raise refused.other_use(
                node,
                f"{self.index} stands behind another index",
                f"part = {ast.unparse(node.value)}[{', '.join(map(ast.unparse, before))}]  # before the loop",
            )
        rest = parts[:place] + parts[place + 1 :]
        count = self.count
        flipped = [f"-1 - {self.index}", f"-{self.index} - 1", f"-({self.index} + 1)"]
        flipped += [f"{count} - 1 - {self.index}", f"{count} - {self.index} - 1"] if count else []
        if text == self.index:
            return axis, False, rest
        if text == f"{self.index}:{self.index} + 1":
            return axis, False, [*parts[:place], parts[place], *parts[place + 1 :]]
        if text in flipped and ast.unparse(self.header.bounds[0]) == "0":
            return axis, True, rest
        part = parts[place]
        if (
            isinstance(part, ast.BinOp)
            and isinstance(part.op, ast.Sub | ast.Add)
            and ast.unparse(part.left) == self.index
            and isinstance(part.right, ast.Constant)
            and isinstance(part.right.value, int)
        ):
            back = part.right.value if isinstance(part.op, ast.Sub) else -part.right.value
            if isinstance(node.value, ast.Name) and node.value.id in self.lists:
                raise refused.list_read(self.statement, node, node.value.id, self.lists[node.value.id])
            raise refused.step_back(self.statement, node, max(axis, 0), self.index, back)
        raise refused.position_as_number(self.statement, node, self.index, self.size)


class _Reads(ast.NodeTransformer):
    """What a statement of the body reads at `t`, by the name of its frame."""

    def __init__(self, work: OverTime) -> None:
        self.work = work

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        work = self.work
        if work.index is None or work.index not in loads(node.slice):
            return self.generic_visit(node)
        axis, is_flipped, rest = work._place(node)
        name = ast.unparse(node.value)
        if name in work.lists:
            raise refused.list_read(work.statement, node, name, work.lists[name])
        if loads(node.value) & (work.set | {work.index}):
            raise refused.other_use(
                node,
                f"{name}, which the step itself makes, is read at {work.index}",
                f"{name}  # whole: what a step makes has no time axis",
            )
        frame: ast.expr = ast.Name(work._frame(node.value, _number(axis), is_flipped=is_flipped), ast.Load())
        is_kept = any(work.index in loads(part) for part in rest)  # x[:, t:t + 1]
        if is_kept:
            frame = ast.Call(ast.Attribute(frame, "unsqueeze", ast.Load()), [_number(axis)], [])
            rest = [ast.Slice() if work.index in loads(part) else part for part in rest]
        if all(ast.unparse(part) in (":", "...") for part in rest):
            return frame
        return ast.Subscript(frame, ast.Tuple(rest, ast.Load()) if len(rest) > 1 else rest[0], ast.Load())

    def visit_Name(self, node: ast.Name) -> ast.AST:
        work = self.work
        if node.id == work.index:
            raise refused.position_as_number(work.statement, node, node.id, work.size)
        if node.id in work.lists and isinstance(node.ctx, ast.Load):
            raise refused.list_read(work.statement, node, node.id, work.lists[node.id])
        return self._number(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        return self._number(node)

    def _number(self, node: ast.expr) -> ast.AST:
        work = self.work
        if work.count is not None and ast.unparse(node) == work.count and not isinstance(node, ast.Constant):
            raise refused.length_as_number(work.statement, node, work.count)
        return self.generic_visit(node)


class _Filled(ast.NodeTransformer):
    """A value in the place of MARK."""

    MARK = ast.Name("__mark", ast.Load())

    def __init__(self, value: ast.expr) -> None:
        self._value = value

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self._value if node.id == "__mark" else node


def _put(statement: ast.stmt) -> tuple[str, ast.expr, bool] | None:
    """`outputs.append(h)`, `outputs += [h]`, `outputs.insert(0, h)`: the list, the element, whether in front."""
    if isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add):
        value = statement.value
        if isinstance(statement.target, ast.Name) and isinstance(value, ast.List) and len(value.elts) == 1:
            return statement.target.id, value.elts[0], False
    if not isinstance(statement, ast.Expr) or (name := _appended(statement.value)) is None:
        return None
    call = statement.value
    assert isinstance(call, ast.Call)
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr == "append" and len(call.args) == 1:
        return name, call.args[0], False
    if call.func.attr == "insert" and len(call.args) == 2 and ast.unparse(call.args[0]) == "0":
        return name, call.args[1], True
    return None


def _appended(node: ast.AST) -> str | None:
    """The list that a call puts something into."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        return node.func.value.id if node.func.attr in ("append", "insert", "extend") else None
    return None


def _target(statement: ast.stmt) -> ast.Subscript | None:
    """`out[:, t]` of `out[:, t] = h`."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        return statement.targets[0] if isinstance(statement.targets[0], ast.Subscript) else None
    return None


def tracing_call(name: str, *arguments: ast.expr) -> ast.Call:
    """A call of a method of export.user_module.loops.traced.Tracing."""
    return ast.Call(ast.Attribute(ast.Name(TRACING, ast.Load()), name, ast.Load()), list(arguments), [])


def assigned(name: str, value: ast.expr) -> ast.Assign:
    """The statement name = value."""
    return ast.Assign([ast.Name(name, ast.Store())], value)


def _unpacked(names: Sequence[str], value: ast.expr | str) -> ast.Assign:
    target = ast.Tuple([ast.Name(name, ast.Store()) for name in names], ast.Store())
    return ast.Assign([target], ast.Name(value, ast.Load()) if isinstance(value, str) else value)


def _number(value: int) -> ast.expr:
    return ast.Constant(value) if value >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-value))
