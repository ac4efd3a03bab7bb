"""Proof that a graph answers as a user's module does: PyTorch, eager, against ONNX Runtime, on inputs never traced."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.parity.errors import Errors
from export.parity.limits import FP32_TOLERANCE
from export.user_module.draw import Drawing, Sizes
from export.user_module.outputs import named_tensors
from export.user_module.precise import PreciseModule
from export.user_module.source import described
from models.errors import ExportError, ParityError, RunnerError
from runtime.onnxruntime.child import ProcessEndedError

Array = NDArray[Any]

NUM_DRAWS = 3


class GraphEndsProcessError(ParityError):
    """The runtime ends the process that runs the graph."""


class Session(Protocol):
    """What runs a graph."""

    def run(self, outputs: Sequence[str], inputs: Mapping[str, Array]) -> list[Array]:
        """The named outputs for inputs by name."""
        ...


@dataclass
class OutputErrors:
    """Differences of one output from PyTorch's over all that was compared.

    Attributes:
        name: of the output.
        errors: the differences.
    """

    name: str
    errors: Errors

    @property
    def worst(self) -> float:
        """The difference that comes nearest to what is allowed, or goes furthest beyond it."""
        return self.errors.difference

    @property
    def allowed(self) -> float:
        """What was allowed there: the tolerance, or more where PyTorch's own float32 error is more."""
        return self.errors.allowed

    @property
    def mean(self) -> float:
        """The mean difference; 0 when nothing was compared."""
        return self.errors.mean


@dataclass
class ModuleParity:
    """What the comparison found.

    Attributes:
        outputs: for each output, in order.
        compared: sizes of the dynamic axes, one for each batch that was compared.
        shapes: of the outputs, for each of these.
        refused: sizes that PyTorch itself does not take, each with its reason.
        notes: what was not compared, or answered otherwise without being an error, a sentence each.
    """

    outputs: list[OutputErrors]
    compared: list[Sizes] = field(default_factory=list)
    shapes: list[list[tuple[int, ...]]] = field(default_factory=list)
    refused: list[tuple[Sizes, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, outputs: Sequence[str], tolerance: float = FP32_TOLERANCE) -> "ModuleParity":
        """Of nothing compared yet."""
        return cls([OutputErrors(name, Errors(tolerance)) for name in outputs])

    def add(self, other: "ModuleParity") -> None:
        """Take in what another comparison of the same outputs found."""
        for own, more in zip(self.outputs, other.outputs, strict=True):
            own.errors.merge(more.errors)
        self.compared.extend(other.compared)
        self.shapes.extend(other.shapes)
        self.refused.extend(other.refused)


def eager_answers(module: nn.Module, inputs: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The user's module on copies of the inputs; names and tensors of its flattened return value."""
    with torch.no_grad():
        return named_tensors(module(*(value.clone() for value in inputs.values())))


def compare(
    module: nn.Module,
    session: Session,
    drawing: Drawing,
    sizes: Sequence[Sizes],
    outputs: Sequence[str],
    seed: int = 1,
    *,
    tolerance: float = FP32_TOLERANCE,
) -> ModuleParity:
    """Compare on ragged and on full batches.

    Args:
        module: the user's, eager; not the exported copy.
        session: over the graph.
        drawing: how inputs are drawn.
        sizes: to compare at; none is the traced one.
        outputs: the graph's output names.
        seed: of the random inputs.
        tolerance: of the differences, see export.parity.limits.

    Raises:
        ParityError: an output differs by more than is allowed, in shape or dtype, or the runtime fails; the message
            names the output and the sizes.
        ExportError: PyTorch takes none of the sizes.
    """
    parity = ModuleParity.of(outputs, tolerance)
    precise = PreciseModule(module)
    generator = torch.Generator().manual_seed(seed)
    for each in sizes:
        for is_full in (False, True) if drawing.has_lengths() else (False,):
            try:
                inputs, expected = _answered(module, drawing, each, generator, is_full=is_full)
            except Exception as error:  # whatever the user's own code raises
                parity.refused.append((each, described(error)))
                break
            shapes = compare_answers(parity.outputs, session, inputs, expected, precise, f"at {sizes_as_text(each)}")
            parity.compared.append(each)
            parity.shapes.append(shapes)
    if not parity.compared:
        tried = "; ".join(f"{sizes_as_text(each)}: {reason}" for each, reason in parity.refused[:3])
        raise ExportError(
            f"PyTorch takes none of the sizes that the graph was to be checked with ({tried}). "
            "Say which sizes it takes, for instance --range time:8..40, or give the axis as a number."
        )
    return parity


def compare_answers(
    outputs: Sequence[OutputErrors],
    session: Session,
    inputs: Mapping[str, Tensor],
    expected: Sequence[Tensor],
    precise: PreciseModule,
    where: str,
) -> list[tuple[int, ...]]:
    """Compare what a graph gives for one batch with what PyTorch gives.

    Args:
        outputs: take in the differences, in the order of the graph's outputs.
        session: over the graph.
        inputs: of the graph, in order.
        expected: PyTorch's answers.
        precise: the module in float64.
        where: for messages, such as "at batch=2".

    Returns:
        The shapes of the outputs.

    Raises:
        ParityError: an output differs by more than is allowed, in shape or dtype, or the runtime fails.
    """
    try:
        found = session.run([each.name for each in outputs], {name: value.numpy() for name, value in inputs.items()})
    except ProcessEndedError as error:
        raise GraphEndsProcessError(
            f"ONNX Runtime does not survive this graph {where}: {error}, as it would end the process that serves it. "
            "Nothing is written."
        ) from error
    except RunnerError as error:
        raise ParityError(
            f"ONNX Runtime fails {where}, where PyTorch answers: {error}. "
            "The forward does something there that the trace at other sizes did not; nothing is written."
        ) from error
    in_float64 = cache(partial(_in_float64, precise, inputs))
    for index, (output, ours, theirs) in enumerate(zip(outputs, found, expected, strict=True)):
        _add(output, ours, theirs.numpy(), partial(_right_answers, precise, inputs, in_float64, index), where)
    return [value.shape for value in found]


def has_answer(module: nn.Module, drawing: Drawing, sizes: Sizes) -> bool:
    """Whether PyTorch takes inputs of these sizes."""
    try:
        _answered(module, drawing, sizes, torch.Generator().manual_seed(1), is_full=False)
    except Exception:  # whatever the user's own code raises
        return False
    return True


def check_enough(parity: ModuleParity, drawing: Drawing) -> None:
    """Refuse a comparison from which PyTorch kept too much away: most sizes, or an axis of 1 that may be 1.

    Raises:
        ExportError: naming the sizes that PyTorch refuses, why, and the --range that says what inputs hold.
    """
    if not parity.refused:
        return
    taken = {sizes_as_text(sizes) for sizes in parity.compared}
    refused = {sizes_as_text(sizes): reason for sizes, reason in parity.refused if sizes_as_text(sizes) not in taken}
    lengths = [
        spec.name
        for spec in drawing.inputs
        if spec.dtype in ("int64", "int32") and len(spec.axes) == 1 and spec.name not in drawing.ranges
        if not spec.is_lengths
    ]
    never = [
        axis
        for axis in drawing.axes
        if any(sizes[axis] == 1 for sizes, _ in parity.refused) and all(sizes[axis] != 1 for sizes in parity.compared)
    ]
    # Without such an input a size of 1 is refused for what it is, as by a convolution.
    if len(taken) >= len(refused) and not (never and lengths):
        return
    listed = "; ".join(f"{where} ({reason})" for where, reason in list(refused.items())[:2])
    time = next((axis for axis in drawing.axes[1:]), "time")
    hint = f"--range {lengths[0]}:1..{time} if it holds lengths, " if lengths else ""
    raise ExportError(
        f"PyTorch refuses {len(refused)} of the {len(refused) + len(taken)} sizes that the graph was to be checked "
        f"with: {listed}. {f'No {never[0]} of 1 was compared. ' if never else ''}Too little is left to show that the "
        f"graph is right. Say what the inputs hold: {hint}--range NAME:LO..HI for values, --range AXIS:LO..HI for "
        "sizes."
    )


def _answered(
    module: nn.Module, drawing: Drawing, sizes: Sizes, generator: torch.Generator, *, is_full: bool
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Inputs that PyTorch takes, and its answers; random values that it refuses are drawn again a few times."""
    for remaining in reversed(range(NUM_DRAWS)):
        inputs = drawing.draw(sizes, generator, is_full=is_full)
        try:
            return inputs, [value for _, value in eager_answers(module, inputs)]
        except Exception:
            if not remaining:
                raise
    raise AssertionError


def _on_rounding(errors: Errors) -> str:
    if errors.allowed <= errors.tolerance or errors.difference > 10 * errors.allowed:
        return ""
    return (
        f" It may be rounding, too: PyTorch's own float32 answer is {errors.allowed / 4:.2g} from its float64 answer. "
        f"--tolerance {errors.difference * 2:.0e} allows it."
    )


def _in_float64(precise: PreciseModule, inputs: Mapping[str, Tensor]) -> list[Tensor] | None:
    return precise.answers(*inputs.values())


def _right_answers(
    precise: PreciseModule, inputs: Mapping[str, Tensor], in_float64: Callable[[], list[Tensor] | None], index: int
) -> Iterator[Array | None]:
    """An output in float64, and then with weights that are a rounding away; each is computed when it is asked for."""
    answers = in_float64()
    yield None if answers is None else answers[index].numpy()
    if answers is not None:
        for rounded in precise.rounded_answers(*inputs.values()):
            yield rounded[index].numpy()


def _same(answer: Array | None) -> Array | None:
    return answer


def sizes_as_text(sizes: Sizes) -> str:
    """As `batch=5, time=9`."""
    return ", ".join(f"{axis}={size}" for axis, size in sizes.items()) or "fixed sizes"


def _add(
    output: OutputErrors,
    found: Array,
    expected: Array,
    right_answers: Callable[[], Iterator[Array | None]],
    where: str,
) -> None:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ParityError(
            f"Output {output.name} is {found.dtype}{list(found.shape)} {where}, PyTorch gives "
            f"{expected.dtype}{list(expected.shape)}. Nothing is written. Where the forward packs lengths that are all "
            "below time, PyTorch cuts the rest off: pad_packed_sequence(..., total_length=x.size(1)) keeps it."
        )
    answers = right_answers()
    errors = Errors(output.errors.tolerance)
    errors.add(found, expected, cache(partial(next, answers)))
    for rounded in () if errors.worst <= errors.tolerance else answers:
        nearer = Errors(output.errors.tolerance)
        nearer.add(found, expected, partial(_same, rounded))
        if nearer.worst < errors.worst:
            errors = nearer
        if errors.worst <= errors.tolerance:
            break
    if not errors.worst <= errors.tolerance:
        raise ParityError(
            f"Output {output.name} differs from PyTorch by {errors.difference:.3g} {where} (shape "
            f"{list(found.shape)}), allowed {errors.allowed:.3g}, relative to the largest magnitude of its row. "
            "Something in the forward was decided while tracing (an if on a size or a value, a number made of a "
            f"tensor). Nothing is written.{_on_rounding(errors)}"
        )
    output.errors.merge(errors)
