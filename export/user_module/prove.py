"""A trace held against PyTorch: at sizes that were not traced, and where what it took for granted is not so."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from export.parity.limits import FP32_TOLERANCE
from export.user_module.draw import Drawing, Sizes
from export.user_module.guards import Guard, example_against, sizes_against
from export.user_module.pace import Pace
from export.user_module.parity import ModuleParity, compare, has_answer, sizes_as_text
from export.user_module.trace import Traced
from export.user_module.write import write_graph
from models.errors import ExportError, ParityError
from runtime.onnxruntime.build import open_session

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

    Raises:
        ParityError: no trace answers as the module does; the message names the guard, its line and the sizes.
        ExportError: PyTorch cannot trace it, or takes none of the sizes.
    """
    usual = drawing.checked_sizes(example)
    traced = trace(example)
    say("comparing with PyTorch at other sizes")
    try:
        return traced, _checked(
            traced, module, drawing, () if is_checked_before else usual, outputs, way_round, tolerance, say
        )
    except GuardError as error:
        other = example_against(error.guard, drawing)
        if other is None:
            raise
        say(f"the forward decides by {error.guard.text}: tracing again where it is not so, at {sizes_as_text(other)}")
        try:
            again = trace(other)
            return again, _checked(again, module, drawing, [*usual, example], outputs, way_round, tolerance, say)
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
    say: Callable[[str], None],
) -> ModuleParity:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        write_graph(traced.model, path)
        session = open_session(path)
        parity = ModuleParity.of(outputs, tolerance)
        if sizes:
            try:
                parity = compare(module, session, drawing, sizes, outputs, tolerance=tolerance)
            except ParityError as error:
                raise _with_cause(
                    error, traced, module, session, drawing, sizes, outputs, way_round, tolerance
                ) from error
        pace = Pace(drawing)
        for guard in traced.guards:
            for against in sorted(sizes_against(guard, drawing), key=drawing.num_elements):
                for at in pace.steps_to(against):
                    with pace.timed(at):
                        if not has_answer(module, drawing, at):
                            continue
                        try:
                            parity.add(compare(module, session, drawing, [at], outputs, tolerance=tolerance))
                        except ParityError as error:
                            if not guard.holds(at):
                                raise _named(error, guard, at, way_round) from error
                            raise _with_cause(
                                error, traced, module, session, drawing, [at], outputs, way_round, tolerance
                            ) from error.__cause__
        if pace.left:
            say(pace.said())
        return parity


def _with_cause(
    error: ParityError,
    traced: Traced,
    module: nn.Module,
    session: Any,
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
