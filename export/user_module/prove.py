"""A trace held against PyTorch: at sizes that were not traced, and where what it took for granted is not so."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from export.parity.limits import FP32_TOLERANCE
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
from export.user_module.unusual import empty_batch_notes, unusual_notes
from export.user_module.write import write_graph
from models.errors import ExportError, ParityError
from runtime.onnxruntime.child import ChildSession, ProcessEndedError

_WAY_ROUND = (
    "Promise sizes with --range AXIS:LO..HI, or write it without the branch (torch.where, clamp, a mask, a slice)."
)


class GuardError(ParityError):
    """The graph is wrong where a guard does not hold.

    Attributes:
        guard: it.
    """

    def __init__(self, message: str, guard: Guard) -> None:
        super().__init__(message)
        self.guard = guard


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

    Where the first one does not, because of a guard, the module is traced once more on the guard's other side: a slice
    `x[:, :64]` traced on long inputs is right for short ones, too.

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
    usual = drawing.checked_sizes(example)
    traced = trace(example)
    say("comparing with PyTorch at other sizes")
    try:
        return traced, _checked(
            traced, module, drawing, () if is_checked_before else usual, outputs, way_round, tolerance, clock
        )
    except GuardError as error:
        other = example_against(error.guard, drawing)
        if other is None:
            raise
        say(f"the forward decides by {error.guard.text}: tracing again where it is not so, at {sizes_as_text(other)}")
        try:
            again = trace(other)
            beyond = [each for each in sizes_against(error.guard, drawing) if has_answer(module, drawing, each)]
            sizes = [*usual, example, *(each for each in beyond if each != other)]
            return again, _checked(again, module, drawing, sizes, outputs, way_round, tolerance, clock)
        except ExportError:
            raise ParityError(str(error)) from error


def _checked(
    traced: Traced,
    module: nn.Module,
    drawing: Drawing,
    sizes: Sequence[Sizes],
    outputs: Sequence[str],
    way_round: str,
    tolerance: float,
    clock: Callable[[], float],
) -> ModuleParity:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        write_graph(traced.model, path)
        try:
            session = ChildSession(path)
        except ProcessEndedError as error:
            raise GraphEndsProcessError(
                f"ONNX Runtime does not survive opening this graph: {error}, as it would end the process that serves "
                f"it. Nothing is written.{_on_float64(module)}"
            ) from error
        with session:
            try:
                return _compared(traced, module, session, drawing, sizes, outputs, way_round, tolerance, clock)
            except GraphEndsProcessError as error:
                raise GraphEndsProcessError(f"{error}{_on_float64(module)}") from error


def _compared(
    traced: Traced,
    module: nn.Module,
    session: Session,
    drawing: Drawing,
    sizes: Sequence[Sizes],
    outputs: Sequence[str],
    way_round: str,
    tolerance: float,
    clock: Callable[[], float],
) -> ModuleParity:
    parity = ModuleParity.of(outputs, tolerance)
    if sizes:
        try:
            parity = compare(module, session, drawing, sizes, outputs, tolerance=tolerance)
            parity.notes += unusual_notes(module, session, drawing, outputs, tolerance)
            parity.notes += empty_batch_notes(module, session, drawing, outputs, tolerance)
        except GraphEndsProcessError:
            raise
        except ParityError as error:
            raise _with_cause(error, traced, module, session, drawing, sizes, outputs, way_round, tolerance) from error
    pace = Pace(drawing, clock)
    for guard in traced.guards:
        for against in sorted(sizes_against(guard, drawing), key=drawing.num_elements):
            for at in pace.steps_to(against):
                with pace.timed(at):
                    if not has_answer(module, drawing, at):
                        continue
                    try:
                        parity.add(compare(module, session, drawing, [at], outputs, tolerance=tolerance))
                    except GraphEndsProcessError:
                        raise
                    except ParityError as error:
                        if not guard.holds(at):
                            raise _named(error, guard, at, way_round) from error
                        raise _with_cause(
                            error, traced, module, session, drawing, [at], outputs, way_round, tolerance
                        ) from error.__cause__
            if pace.why_left is not None:
                parity.notes.append(_not_tried(guard, against, pace.why_left, way_round))
                break
        beyond = nearest_beyond(guard, drawing)
        if beyond is not None and drawing.num_elements(beyond) > MOST_ELEMENTS:
            reason = f"inputs of more than {MOST_ELEMENTS} numbers are not tried"
            parity.notes.append(_not_tried(guard, beyond, reason, way_round))
    return parity


def _not_tried(guard: Guard, sizes: Sizes, reason: str, way_round: str) -> str:
    return (
        f"Not compared where {guard.text}{guard.place} is not so, as at {sizes_as_text(sizes)}: {reason}. "
        f"The graph may answer otherwise there. {way_round}"
    )


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


def _with_cause(
    error: ParityError,
    traced: Traced,
    module: nn.Module,
    session: Session,
    drawing: Drawing,
    sizes: Sequence[Sizes],
    outputs: Sequence[str],
    way_round: str,
    tolerance: float,
) -> ParityError:
    """The error with a guard that does not hold where it was found; the error itself where all hold."""
    broken = [(guard, each) for each in sizes for guard in traced.guards if not guard.holds(each)]
    for guard, each in broken:
        if has_answer(module, drawing, each):
            try:
                compare(module, session, drawing, [each], outputs, tolerance=tolerance)
            except ParityError as found:
                return _named(found, guard, each, way_round)
    return error


def _named(error: ParityError, guard: Guard, sizes: Sizes, way_round: str) -> GuardError:
    return GuardError(
        f"{error} The forward asks whether {guard.text}{guard.place}, and the trace keeps one answer: at "
        f"{sizes_as_text(sizes)} it is another. {way_round}",
        guard,
    )
