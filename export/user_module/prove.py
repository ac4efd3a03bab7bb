"""A trace held against PyTorch: at sizes that were not traced, and where what it took for granted is not so."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from export.parity.limits import FP32_TOLERANCE
from export.user_module.constants import integers_of
from export.user_module.draw import Drawing, Sizes
from export.user_module.guards import MOST_ELEMENTS, Guard, example_against, nearest_beyond, sizes_against
from export.user_module.pace import Pace
from export.user_module.parity import (
    GraphEndsProcessError,
    ModuleParity,
    Session,
    compare,
    has_answer,
    sizes_as_text,
)
from export.user_module.trace import Traced
from export.user_module.unusual import empty_notes, error_of_last, unusual_errors, unusual_notes
from export.user_module.write import write_graph
from models.errors import ExportError, ParityError
from runtime.onnxruntime.child import ChildSession, ProcessEndedError

LOOPED = (1, 2, 3, 7, 64)  # steps that a loop over time is proven at
MOST_TRACES = 3
MOST_LOOPED = 1024  # of the numbers in the code, the largest that a loop is proven beyond
_WAY_ROUND = (
    "Promise sizes with --range AXIS:LO..HI, or write it without the branch (torch.where, clamp, a mask, a slice)."
)


class GuardError(ParityError):
    """The graph is wrong where a guard does not hold.

    Attributes:
        guard: it.
        sizes: where it was seen; others may not hold there either.
    """

    def __init__(self, message: str, guard: Guard, sizes: Sizes) -> None:
        super().__init__(message)
        self.guard = guard
        self.sizes = sizes


def proven(
    trace: Callable[[Sizes], Traced],
    module: nn.Module,
    drawing: Drawing,
    example: Sizes,
    outputs: Sequence[str],
    say: Callable[[str], None] = lambda _: None,
    *,
    way_round: str = _WAY_ROUND,
    is_checked_before: bool = False,
    tolerance: float = FP32_TOLERANCE,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[Traced, ModuleParity]:
    """A trace that answers as the module does at every size that was found to matter.

    Where one does not, because of a guard, the module is traced once more on the other side of that guard and of those
    before it, MOST_TRACES times in all: a slice `x[:, :64]` traced on long inputs is right for short ones, too, and
    windows of frames traced where there are several are right where there is one.

    Args:
        trace: sizes to trace at -> the trace.
        module: eager.
        drawing: how inputs are drawn.
        example: sizes to trace at first.
        outputs: names of the graph's outputs.
        say: called with what is being done, a line at a time.
        way_round: what to advise where a guard matters.
        is_checked_before: compare the first trace only where its guards do not hold.
        tolerance: of differences from PyTorch.
        clock: seconds; larger sizes are compared as far as it lets, see export.user_module.pace.

    Raises:
        ParityError: no trace answers as the module does; the message names the guard, its line and the sizes.
        ExportError: PyTorch cannot trace it, or takes none of the sizes.
    """
    check = _Check(module, drawing, tuple(outputs), way_round, tolerance, clock)
    usual = drawing.checked_sizes(example)
    compared = [] if is_checked_before else usual
    traced = trace(example)
    say("comparing with PyTorch at other sizes")
    first: GuardError | None = None
    guards: list[Guard] = []
    while True:
        try:
            return traced, check.parity(traced, compared)
        except GuardError as error:
            first = first or error
            # Which of those that do not hold where it went wrong is to blame is not known.
            others = (guard for guard in traced.guards if guard != error.guard and not guard.holds(error.sizes))
            found = ((guard, example_against([*guards, guard], drawing)) for guard in (error.guard, *others))
            guard, other = next(((guard, sizes) for guard, sizes in found if sizes is not None), (error.guard, None))
            guards.append(guard)
            if other is None or len(guards) == MOST_TRACES:
                raise ParityError(str(first)) from None
            say(f"the forward decides by {guard.text}: tracing again where it is not so, at {sizes_as_text(other)}")
        except ExportError:
            if first is None:
                raise
            raise ParityError(str(first)) from None
        try:
            traced = trace(other)
        except ExportError:
            raise ParityError(str(first)) from None
        beyond = [
            each
            for guard in guards
            for each in sizes_against(guard, drawing)
            if each != other and has_answer(module, drawing, each)
        ]
        compared = [*usual, example, *beyond]


@dataclass(frozen=True)
class _Check:
    """What every trace of a module is held against; the attributes are arguments of proven."""

    module: nn.Module
    drawing: Drawing
    outputs: tuple[str, ...]
    way_round: str
    tolerance: float
    clock: Callable[[], float]

    def parity(self, traced: Traced, sizes: Sequence[Sizes]) -> ModuleParity:
        """At these sizes, and beyond every guard.

        Raises:
            ParityError: the trace does not answer as the module does.
        """
        with TemporaryDirectory() as folder:
            path = Path(folder) / "graph.onnx"
            write_graph(traced.model, path)
            try:
                session = ChildSession(path)
            except ProcessEndedError as error:
                raise GraphEndsProcessError(
                    f"ONNX Runtime does not survive opening this graph: {error}, as it would end the process that "
                    f"serves it. Nothing is written.{_on_float64(self.module)}"
                ) from error
            with session:
                try:
                    parity = self._usual(traced, session, sizes)
                    self._beyond_guards(traced, session, parity)
                    return parity
                except GraphEndsProcessError as error:
                    raise GraphEndsProcessError(f"{error}{_on_float64(self.module)}") from error

    def _at(self, session: Session, sizes: Sequence[Sizes]) -> ModuleParity:
        return compare(self.module, session, self.drawing, sizes, self.outputs, tolerance=self.tolerance)

    def _usual(self, traced: Traced, session: Session, sizes: Sequence[Sizes]) -> ModuleParity:
        if not sizes:
            return ModuleParity.of(self.outputs, self.tolerance)
        try:
            parity = self._at(session, sizes)
            parity.notes += unusual_notes(self._unusual(session, self.drawing.small_sizes(), has_zeros=True))
            parity.notes += empty_notes(self.module, session, self.drawing, self.outputs, self.tolerance)
        except GraphEndsProcessError:
            raise
        except ParityError as error:
            raise self._with_cause(error, traced, session, sizes) from error
        return parity

    def _beyond_guards(self, traced: Traced, session: Session, parity: ModuleParity) -> None:
        """Add what is found where a guard does not hold, as far as time lets."""
        pace = Pace(self.drawing, self.clock)
        usual = self.drawing.small_sizes()
        keeps_nan = bool(traced.guards) and self._error_of_last(session, usual, list(usual)) is None
        known = self._unusual(session, usual, has_zeros=False) if traced.guards else {}
        for guard in traced.guards:
            for against in sorted(sizes_against(guard, self.drawing), key=self.drawing.num_elements):
                for at in pace.steps_to(against):
                    with pace.timed(at):
                        if has_answer(self.module, self.drawing, at):
                            parity.add(self._at_or_guard(traced, session, guard, at))
                            if keeps_nan and not guard.holds(at):
                                found = self._error_of_last(session, at, guard.axes)
                                if found is not None:
                                    raise self._named(ParityError(found), guard, at)
                            if not guard.holds(at):
                                errors = self._unusual(session, at, has_zeros=False)
                                new = {kind: error for kind, error in errors.items() if kind not in known}
                                parity.notes += unusual_notes(new)
                                known |= new
                if pace.why_left is not None:
                    parity.notes.append(self._not_tried(guard, against, pace.why_left))
                    break
            beyond = nearest_beyond(guard, self.drawing)
            if beyond is not None and self.drawing.num_elements(beyond) > MOST_ELEMENTS:
                reason = f"inputs of more than {MOST_ELEMENTS} numbers are not tried"
                parity.notes.append(self._not_tried(guard, beyond, reason))
        for at in looped_sizes(traced, self.module, self.drawing):
            if at not in parity.compared and pace.is_within(at) and has_answer(self.module, self.drawing, at):
                with pace.timed(at):
                    parity.add(self._at(session, [at]))

    def _at_or_guard(self, traced: Traced, session: Session, guard: Guard, sizes: Sizes) -> ModuleParity:
        try:
            return self._at(session, [sizes])
        except GraphEndsProcessError:
            raise
        except ParityError as error:
            if not guard.holds(sizes):
                raise self._named(error, guard, sizes) from error
            raise self._with_cause(error, traced, session, [sizes]) from error.__cause__

    def _unusual(self, session: Session, sizes: Sizes, *, has_zeros: bool) -> dict[str, str]:
        of_graph = session, self.drawing, self.outputs, self.tolerance
        return unusual_errors(self.module, *of_graph, sizes, has_zeros=has_zeros)

    def _error_of_last(self, session: Session, sizes: Sizes, axes: Sequence[str]) -> str | None:
        return error_of_last(self.module, session, self.drawing, self.outputs, sizes, axes)

    def _with_cause(self, error: ParityError, traced: Traced, session: Session, sizes: Sequence[Sizes]) -> ParityError:
        """The error with a guard that does not hold where it was found; the error itself where all hold."""
        broken = [(guard, each) for each in sizes for guard in traced.guards if not guard.holds(each)]
        for guard, each in broken:
            if has_answer(self.module, self.drawing, each):
                try:
                    self._at(session, [each])
                except ParityError as found:
                    return self._named(found, guard, each)
        return error

    def _not_tried(self, guard: Guard, sizes: Sizes, reason: str) -> str:
        return (
            f"Not compared where {guard.text}{guard.place} is not so, as at {sizes_as_text(sizes)}: {reason}. "
            f"The graph may answer otherwise there. {self.way_round}"
        )

    def _named(self, error: ParityError, guard: Guard, sizes: Sizes) -> GuardError:
        return GuardError(
            f"{error} The forward asks whether {guard.text}{guard.place}, and the trace keeps one answer: at "
            f"{sizes_as_text(sizes)} it is another. {self.way_round}",
            guard,
            sizes,
        )


def looped_sizes(traced: Traced, module: nn.Module, drawing: Drawing) -> list[Sizes]:
    """Sizes that a Python loop over time is proven at: few steps, many, and just beyond each number of the code."""
    if not traced.looped:
        return []
    beyond = [number + 1 for number in integers_of(module) if 1 <= number <= MOST_LOOPED]
    found = []
    for steps in sorted({*LOOPED, *beyond}):
        sizes = {**drawing.small_sizes(), **dict.fromkeys(traced.looped, steps)}
        if all(drawing.is_allowed(*each) for each in sizes.items()) and drawing.num_elements(sizes) <= MOST_ELEMENTS:
            found.append(sizes)
    return found


def _on_float64(module: nn.Module) -> str:
    """What most often makes the runtime end its process, where it is so."""
    parts = [
        f"{name or 'the module itself'} ({type(part).__name__})"
        for name, part in module.named_modules()
        if any(value.dtype == torch.float64 for _, value in part.named_parameters(recurse=False))
    ]
    if not parts:
        return " Try it in parts: export the module without its last layers and see which one it is."
    return (
        f" It computes in float64 in {', '.join(parts)}, which the runtime is rarely given: call model.float() and "
        "leave .double() out."
    )
