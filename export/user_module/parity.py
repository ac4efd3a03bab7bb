"""Proof that a graph answers as a user's module does: PyTorch, eager, against ONNX Runtime, on inputs never traced."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.parity.limits import FP32_TOLERANCE
from export.user_module.draw import Drawing, Sizes
from export.user_module.outputs import named_tensors
from export.user_module.source import described
from models.errors import ExportError, ParityError

Array = NDArray[Any]

NUM_DRAWS = 3


@dataclass
class OutputErrors:
    """Differences of one output from PyTorch's, relative to the largest magnitude or 1, over all that was compared."""

    name: str
    worst: float = 0.0
    total: float = 0.0
    count: int = 0

    @property
    def mean(self) -> float:
        """The mean difference; 0 when nothing was compared."""
        return self.total / self.count if self.count else 0.0


@dataclass
class ModuleParity:
    """What the comparison found.

    Attributes:
        outputs: for each output, in order.
        compared: sizes of the dynamic axes, one for each batch that was compared.
        refused: sizes that PyTorch itself does not take, each with its reason.
    """

    outputs: list[OutputErrors]
    compared: list[Sizes] = field(default_factory=list)
    refused: list[tuple[Sizes, str]] = field(default_factory=list)

    @classmethod
    def of(cls, outputs: Sequence[str]) -> "ModuleParity":
        """Of nothing compared yet."""
        return cls([OutputErrors(name) for name in outputs])

    def add(self, other: "ModuleParity") -> None:
        """Take in what another comparison of the same outputs found."""
        for own, more in zip(self.outputs, other.outputs, strict=True):
            own.worst = max(own.worst, more.worst)
            own.total += more.total
            own.count += more.count
        self.compared.extend(other.compared)
        self.refused.extend(other.refused)


def eager_answers(module: nn.Module, inputs: dict[str, Tensor]) -> list[tuple[str, Tensor]]:
    """The user's module on copies of the inputs; names and tensors of its flattened return value."""
    with torch.no_grad():
        return named_tensors(module(*(value.clone() for value in inputs.values())))


def compare(
    module: nn.Module, session: Any, drawing: Drawing, sizes: Sequence[Sizes], outputs: Sequence[str], seed: int = 1
) -> ModuleParity:
    """Compare on ragged and on full batches.

    Args:
        module: the user's, eager; not the exported copy.
        session: ONNX Runtime over the graph.
        drawing: how inputs are drawn.
        sizes: to compare at; none is the traced one.
        outputs: the graph's output names.
        seed: of the random inputs.

    Raises:
        ParityError: an output differs by more than FP32_TOLERANCE, in shape or dtype, or the runtime fails; the message
            names the output and the sizes.
        ExportError: PyTorch takes none of the sizes.
    """
    parity = ModuleParity.of(outputs)
    generator = torch.Generator().manual_seed(seed)
    quiet = ort.RunOptions()
    quiet.log_severity_level = 4  # what fails is said below
    for each in sizes:
        for is_full in (False, True) if drawing.has_lengths() else (False,):
            try:
                inputs, expected = _answered(module, drawing, each, generator, is_full=is_full)
            except Exception as error:  # whatever the user's own code raises
                parity.refused.append((each, described(error)))
                break
            try:
                found = session.run(list(outputs), {name: value.numpy() for name, value in inputs.items()}, quiet)
            except Exception as error:
                raise ParityError(
                    f"ONNX Runtime fails at {sizes_as_text(each)}, where PyTorch answers: {described(error)}. "
                    "The forward does something there that the trace at other sizes did not; nothing is written."
                ) from error
            for errors, ours, theirs in zip(parity.outputs, found, expected, strict=True):
                _add(errors, ours, theirs.numpy(), each)
            parity.compared.append(each)
    if not parity.compared:
        tried = "; ".join(f"{sizes_as_text(each)}: {reason}" for each, reason in parity.refused[:3])
        raise ExportError(
            f"PyTorch takes none of the sizes that the graph was to be checked with ({tried}). "
            "Say which sizes it takes, for instance --range time:8..40, or give the axis as a number."
        )
    return parity


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


def sizes_as_text(sizes: Sizes) -> str:
    """As `batch=5, time=9`."""
    return ", ".join(f"{axis}={size}" for axis, size in sizes.items()) or "fixed sizes"


def difference(found: Array, expected: Array) -> Array:
    """Differences relative to the largest finite magnitude or 1; 0 where both are NaN or the same infinity.

    Args:
        found: any shape and dtype.
        expected: the same shape.

    Returns:
        float64 of the same shape; infinite where one is finite and the other is not.
    """
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    is_same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    finite = np.abs(expected[np.isfinite(expected)])
    with np.errstate(invalid="ignore"):
        error = np.abs(found - expected) / max(1.0, float(finite.max(initial=0.0)))
    result: Array = np.where(is_same, 0.0, np.where(np.isnan(error), np.inf, error))
    return result


def _add(errors: OutputErrors, found: Array, expected: Array, sizes: Sizes) -> None:
    where = f"at {sizes_as_text(sizes)}"
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ParityError(
            f"Output {errors.name} is {found.dtype}{list(found.shape)} {where}, PyTorch gives "
            f"{expected.dtype}{list(expected.shape)}. Nothing is written. Where the forward packs lengths that are all "
            "below time, PyTorch cuts the rest off: pad_packed_sequence(..., total_length=x.size(1)) keeps it."
        )
    error = difference(found, expected)
    worst = float(error.max(initial=0.0))
    if not worst <= FP32_TOLERANCE:
        raise ParityError(
            f"Output {errors.name} differs from PyTorch by {worst:.3g} {where} (shape {list(found.shape)}), allowed "
            f"{FP32_TOLERANCE:g}, relative to the largest magnitude or 1. Something in the forward was decided while "
            "tracing (an if on a size or a value, a number made of a tensor). Nothing is written."
        )
    errors.worst = max(errors.worst, worst)
    errors.total += float(error.sum())
    errors.count += error.size
