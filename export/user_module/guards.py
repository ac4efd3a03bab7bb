"""What a trace took for granted about sizes, and sizes at which it is not so.

While a forward is traced, every question about a size (`if x.size(1) > 100`, the end of a slice) is answered once, for
the example, and the answer becomes part of the graph. PyTorch keeps each such answer as a guard. Whether one matters
can be seen only where it does not hold: there the graph is compared with PyTorch.
"""

import itertools
import math
import random
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from traceback import FrameSummary
from types import CodeType
from typing import Any

import sympy  # type: ignore[import-untyped]
from torch._guards import SLoc
from torch.fx.experimental.symbolic_shapes import SYMPY_INTERP, ShapeEnv
from torch.utils._sympy.printers import PythonPrinter

from export.user_module.draw import Drawing, Sizes
from export.user_module.source import is_machinery

MOST_ELEMENTS = 4_000_000  # of all inputs together; larger ones are not tried
LARGEST = 1_000_000_000  # of an axis; where a guard fails only beyond it is not looked for
_SMALL = 64  # sizes up to this are tried one by one, and of a guard on one axis alone up to _ALL
_ALL = 4096
_MOST_TRIED = 40_000
_FACTORS = (1.0, 1.3, 2.0, 4.0)  # how far beyond the nearest sizes others are tried, by number of elements


@dataclass(frozen=True)
class Guard:
    """One answer that the trace took for granted.

    Attributes:
        text: in the user's names of axes, such as `batch*time <= 5000`.
        place: where the question is asked in the user's code, "" where that is not known.
        axes: that it depends on.
        constants: numbers in it; what changes does so near them.
    """

    text: str
    place: str
    axes: tuple[str, ...]
    constants: tuple[int, ...]
    _code: CodeType
    _names: Mapping[str, str]  # of symbols in the code -> axis

    def holds(self, sizes: Sizes) -> bool:
        """Whether it is so at these sizes; an expression that cannot be computed holds."""
        try:
            return bool(eval(self._code, dict(SYMPY_INTERP), {name: sizes[axis] for name, axis in self._names.items()}))
        except (ArithmeticError, NameError, TypeError, ValueError):
            return True

    def __str__(self) -> str:
        return f"{self.text}{self.place}"


@contextmanager
def users_lines() -> Iterator[None]:
    """While open, PyTorch keeps with each guard the line of the user's forward, and not that of its own code below."""
    original = ShapeEnv._get_sloc

    def place(self: ShapeEnv, framework_loc: Any = None) -> SLoc:
        for frame in reversed(traceback.extract_stack()):
            if frame.filename.endswith("export/user_module/outputs.py"):
                break
            if not is_machinery(frame.filename):
                return SLoc(frame, None)
        return original(self, framework_loc)

    ShapeEnv._get_sloc = place  # type: ignore[method-assign]
    try:
        yield
    finally:
        ShapeEnv._get_sloc = original  # type: ignore[method-assign]


def guards_of(env: ShapeEnv, symbols: Mapping[sympy.Symbol, str]) -> tuple[Guard, ...]:
    """The guards of a trace that depend on dynamic axes alone.

    Args:
        env: of the trace.
        symbols: of the traced sizes -> the axis that each is.
    """
    found: dict[str, Guard] = {}
    named = {symbol: sympy.Symbol(axis, integer=True, positive=True) for symbol, axis in symbols.items()}
    for shape_guard in env.guards:
        expression = shape_guard.expr.xreplace(env.replacements)
        own = sorted(expression.free_symbols, key=str)
        if not own or not set(own) <= set(symbols):
            continue
        text = PythonPrinter().doprint(expression.xreplace(named))
        if text in ("True", "False"):
            continue
        found.setdefault(
            text,
            Guard(
                text=text,
                place=_as_text(shape_guard.sloc.framework_loc),
                axes=tuple(dict.fromkeys(symbols[symbol] for symbol in own)),
                constants=tuple(sorted({abs(int(number)) for number in expression.atoms(sympy.Integer)})),
                _code=compile(PythonPrinter().doprint(expression), "<guard>", "eval"),
                _names={str(symbol): symbols[symbol] for symbol in own},
            ),
        )
    return tuple(found.values())


def _as_text(place: FrameSummary | str | None) -> str:
    if not isinstance(place, FrameSummary) or is_machinery(place.filename):
        return ""
    return f" ({Path(place.filename).name}, line {place.lineno}: {place.line})"


def sizes_against(guard: Guard, drawing: Drawing) -> list[Sizes]:
    """Sizes within the drawing's ranges at which a guard does not hold: the nearest, the smallest, and some beyond.

    Returns:
        At most a dozen, or none where none was found.
    """
    against = [sizes for sizes in _all_against(guard, drawing) if drawing.num_elements(sizes) <= MOST_ELEMENTS]
    if not against:
        return []
    border = [sizes for sizes in against if _is_beside(guard, sizes)]
    least = drawing.num_elements((border or against)[0])
    chosen = [*against[:1], *border[:3], *border[-1:]]
    for factor in _FACTORS:
        beyond = [sizes for sizes in against if drawing.num_elements(sizes) >= factor * least]
        chosen.extend(beyond[:1])
        # Another of about this size, with its axes otherwise.
        if len(guard.axes) > 1 and beyond:
            chosen.append(random.Random(0).choice(beyond[: max(1, len(beyond) // 8)]))
    return [sizes for index, sizes in enumerate(chosen) if sizes not in chosen[:index]]


def nearest_beyond(guard: Guard, drawing: Drawing) -> Sizes | None:
    """The smallest sizes found at which a guard does not hold; None where none are within the drawing's ranges."""
    return next(iter(_all_against(guard, drawing)), None)


def _all_against(guard: Guard, drawing: Drawing) -> list[Sizes]:
    """Sizes at which a guard does not hold, by the number of elements; on one axis the first of them, too."""
    tried = {axis: _candidates(guard, drawing, axis) for axis in guard.axes}
    base = drawing.small_sizes()
    against, last = [], None
    for numbers in _combinations(list(tried.values())):
        sizes = {**base, **dict(zip(tried, numbers, strict=True))}
        if not guard.holds(sizes):
            if len(tried) == 1 and last is not None and guard.holds(last):
                against.append(_border(guard, last, sizes))
            against.append(sizes)
        last = sizes
    return sorted(against, key=drawing.num_elements)


def _border(guard: Guard, holding: Sizes, against: Sizes) -> Sizes:
    """The first sizes at which a guard does not hold, between some where it does and larger ones of its axis."""
    (axis,) = guard.axes
    low, high = holding[axis], against[axis]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if guard.holds({**against, axis: middle}) else (low, middle)
    return {**against, axis: high}


def example_against(guards: Sequence[Guard], drawing: Drawing) -> Sizes | None:
    """Sizes to trace with at which none of the guards holds: all different and above 2; None where there are none."""
    found = [
        sizes
        for guard in guards
        for sizes in sizes_against(guard, drawing)
        if len(set(sizes.values())) == len(sizes) and min(sizes.values(), default=3) > 2
        if not any(other.holds(sizes) for other in guards)
    ]
    return found[-1] if found else None


def _is_beside(guard: Guard, sizes: Sizes) -> bool:
    return any(guard.holds({**sizes, axis: sizes[axis] + step}) for axis in guard.axes for step in (-1, 1))


def _candidates(guard: Guard, drawing: Drawing, axis: str) -> list[int]:
    numbers = set(range(1, (_ALL if len(guard.axes) == 1 else _SMALL) + 1))
    for constant in guard.constants:
        root = math.isqrt(constant)
        near = {constant, 2 * constant, root, *(constant // part for part in (2, 3, 5, 8, 16, 64))}
        numbers |= {number + step for number in near for step in (-1, 0, 1, 2, 17)}
    numbers |= {round(_SMALL * 1.25**power) for power in range(75)}
    return sorted(number for number in numbers if 1 <= number <= LARGEST and drawing.is_allowed(axis, number))


def _combinations(candidates: Sequence[Sequence[int]]) -> Iterable[tuple[int, ...]]:
    if math.prod(len(numbers) for numbers in candidates) <= _MOST_TRIED:
        return itertools.product(*candidates)
    generator = random.Random(0)
    return (tuple(generator.choice(numbers) for numbers in candidates) for _ in range(_MOST_TRIED))
