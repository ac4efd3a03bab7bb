"""Whether a graph answers unusual inputs as PyTorch does: NaN, infinity, denormal numbers, zeros, no rows."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from export.user_module.draw import Drawing, Sizes
from export.user_module.parity import (
    GraphEndsProcessError,
    ModuleParity,
    Session,
    compare_answers,
    eager_answers,
    sizes_as_text,
)
from export.user_module.precise import PreciseModule
from models.errors import ParityError
from runtime.onnxruntime.child import ProcessEndedError

_ROUNDS = 2  # where NaN and infinity stand differs


def _with_one(number: float) -> Callable[[Tensor, torch.Generator], Tensor]:
    def change(values: Tensor, generator: torch.Generator) -> Tensor:
        flat = values.flatten()
        flat[int(torch.randint(flat.numel(), (), generator=generator))] = number
        return flat.reshape(values.shape)

    return change


def _with_infinities(values: Tensor, generator: torch.Generator) -> Tensor:
    return _with_one(float("-inf"))(_with_one(float("inf"))(values, generator), generator)


_CHANGES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "a NaN": _with_one(float("nan")),
    "infinity": _with_one(float("inf")),
    "infinities": _with_infinities,
    "denormal numbers": lambda values, _: values * 1e-40,
    "zeros": lambda values, _: values * 0,
}
_USUAL = ("zeros",)  # a difference there is an error like any other


def unusual_errors(
    module: nn.Module,
    session: Session,
    drawing: Drawing,
    outputs: Sequence[str],
    tolerance: float,
    sizes: Sizes,
    *,
    has_zeros: bool = True,
) -> dict[str, str]:
    """Compare with PyTorch where inputs are unusual.

    Args:
        module: the user's, eager.
        session: over the graph.
        drawing: how inputs are drawn; those with a range of their own stay within it.
        outputs: the graph's output names.
        tolerance: of differences.
        sizes: to compare at.
        has_zeros: whether zeros are among what is tried; at other sizes they show no more than other numbers do.

    Returns:
        For each kind of input that the graph answers otherwise, such as "infinity in x", what is wrong.

    Raises:
        ParityError: it answers zeros otherwise.
        GraphEndsProcessError: the runtime ended its process.
    """
    generator = torch.Generator().manual_seed(2)
    errors = {}
    floats = [spec.name for spec in drawing.inputs if spec.dtype == "float32" and spec.name not in drawing.ranges]
    for name in floats:
        for kind, change in _CHANGES.items():
            if kind in _USUAL and not has_zeros:
                continue
            for _ in range(_ROUNDS):
                inputs = drawing.draw(sizes, generator)
                if not inputs[name].numel():
                    continue
                inputs[name] = change(inputs[name], generator)
                error = _error(module, session, inputs, outputs, tolerance, sizes)
                if error is not None and kind in _USUAL:
                    raise ParityError(f"With {kind} in {name}: {error}")
                if error is not None:
                    errors[f"{kind} in {name}"] = error
                    break
    return errors


def unusual_notes(errors: dict[str, str]) -> list[str]:
    """A sentence for each kind of input that `unusual_errors` has found."""
    return [f"With {kind} the graph does not answer as PyTorch does: {error}" for kind, error in errors.items()]


def empty_notes(
    module: nn.Module, session: Session, drawing: Drawing, outputs: Sequence[str], tolerance: float
) -> list[str]:
    """The same where an axis has size 0, each of the free ones in turn; none where PyTorch itself refuses it."""
    notes = []
    for axis in drawing.axes:
        if axis in drawing.ranges:
            continue
        sizes = {**drawing.small_sizes(), axis: 0}
        try:
            inputs = replace(drawing, is_sorted=False).draw(sizes, torch.Generator().manual_seed(3))
        except Exception:  # nothing can be drawn of that size
            continue
        error = _error(module, session, inputs, outputs, tolerance, sizes)
        if error is not None:
            notes.append(f"With {axis}=0 the graph does not answer as PyTorch does: {error}")
    return notes


def error_of_last(
    module: nn.Module, session: Session, drawing: Drawing, outputs: Sequence[str], sizes: Sizes, axes: Sequence[str]
) -> str | None:
    """What is wrong where NaN stands at the end of some axes: which numbers of the answer are NaN, and those alone.

    It shows what reads that end, however little of it is left in an answer, as of a frame that a recurrence has long
    forgotten.

    Args:
        module: as of `unusual_errors`, and so are the next two.
        session: over the graph.
        drawing: of the inputs.
        outputs: the graph's.
        sizes: to compare at.
        axes: names.

    Returns:
        A sentence; None where it comes out as in PyTorch, PyTorch fails, or no float input has such an axis.

    Raises:
        GraphEndsProcessError: the runtime ended its process.
    """
    for spec in drawing.inputs:
        for number, axis in spec.dynamic_axes.items():
            if axis not in axes or spec.dtype != "float32" or spec.name in drawing.ranges:
                continue
            inputs = drawing.draw(sizes, torch.Generator().manual_seed(4), is_full=True)
            if not inputs[spec.name].numel():
                continue
            inputs[spec.name] = inputs[spec.name].clone()
            inputs[spec.name].select(number, -1).fill_(float("nan"))
            name = _with_other_nan(module, session, inputs, outputs)
            if name is not None:
                where = f"With NaN at the end of {axis} in {spec.name}, at {sizes_as_text(sizes)}"
                return f"{where}, output {name} is not NaN where PyTorch's is."
    return None


def _with_other_nan(
    module: nn.Module, session: Session, inputs: dict[str, Tensor], outputs: Sequence[str]
) -> str | None:
    """The first output of floats that has NaN elsewhere than PyTorch's, or another shape."""
    try:
        expected = [value for _, value in eager_answers(module, inputs)]
        found = session.run(list(outputs), {name: value.numpy() for name, value in inputs.items()})
    except ProcessEndedError as error:
        raise GraphEndsProcessError(f"ONNX Runtime does not survive NaN in this graph: {error}.") from error
    except Exception:  # whatever the user's own code raises; a runtime that fails is seen without NaN
        return None
    for name, ours, theirs in zip(outputs, found, expected, strict=True):
        if theirs.is_floating_point() and (
            ours.shape != theirs.shape or not np.array_equal(np.isnan(ours), theirs.isnan().numpy())
        ):
            return name
    return None


def _error(
    module: nn.Module,
    session: Session,
    inputs: dict[str, Tensor],
    outputs: Sequence[str],
    tolerance: float,
    sizes: Sizes,
) -> str | None:
    try:
        expected = [value for _, value in eager_answers(module, inputs)]
    except Exception:  # whatever the user's own code raises: PyTorch does not take them
        return None
    found = ModuleParity.of(outputs, tolerance)
    try:
        compare_answers(found.outputs, session, inputs, expected, PreciseModule(module), f"at {sizes_as_text(sizes)}")
    except GraphEndsProcessError:
        raise
    except ParityError as error:
        return str(error).partition(" Something in the forward")[0].partition(" The forward does something")[0]
    return None
