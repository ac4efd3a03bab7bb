"""A user's module to an ONNX file, proven against PyTorch before anything is written."""

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx
import torch
from torch import Tensor, nn

from export.onnx.census import census
from export.onnx.rewrite.unusual_values import with_unusual_values
from export.parity.limits import CPU_BACKEND, FP32_TOLERANCE
from export.report import Check, Report
from export.user_module.copies import copied
from export.user_module.declared import correct_shapes
from export.user_module.draw import Drawing, Sizes, new_drawing
from export.user_module.inputs import InputSpec, Nested, ValueRange, flat_inputs, taking_flat
from export.user_module.outputs import output_names
from export.user_module.parity import ModuleParity, check_enough, eager_answers, has_answer, sizes_as_text
from export.user_module.prove import proven
from export.user_module.refusals import refuse_unsupported
from export.user_module.source import described
from export.user_module.trace import FrozenAxisError, Traced, traced_module
from export.user_module.write import write_graph as write_graph
from models.errors import ExportError, UnsupportedModelError
from runtime.distance import difference

_UNSORTED = "sorted in decreasing order"  # how PyTorch refuses lengths with enforce_sorted=True


@dataclass(frozen=True)
class Exported:
    """A graph that answers as the module does.

    Attributes:
        model: opset 20, IR 10, weights inside.
        inputs: as they were given, without nesting.
        outputs: the graph's output names, in the order of the flattened return value.
        operators: how often each occurs.
        parity: what the comparison with PyTorch found.
        notes: what a user should know, a sentence each.
    """

    model: onnx.ModelProto
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    operators: Counter[str]
    parity: ModuleParity
    notes: tuple[str, ...]

    def report(self, name: str) -> Report:
        """The comparison as a report under a name: one check for each output."""
        checks = tuple(
            Check(f"worst_error of {errors.name}", errors.worst, errors.allowed) for errors in self.parity.outputs
        )
        facts = {f"mean_error of {errors.name}": errors.mean for errors in self.parity.outputs}
        facts["compared_batches"] = float(len(self.parity.compared))
        return Report(name, CPU_BACKEND, checks, facts, notes=self.notes)


def export_module(
    module: nn.Module,
    inputs: Sequence[Nested],
    *,
    ranges: Mapping[str, ValueRange] | None = None,
    outputs: Sequence[str] | None = None,
    tolerance: float = FP32_TOLERANCE,
    say: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Export any module whose recurrent layers are nn.RNN, nn.LSTM, nn.GRU or cells, and check it against PyTorch.

    Args:
        module: the module; it is copied and left as it is. Exported in eval mode.
        inputs: what its forward takes, in order; a tuple of inputs is one argument, a tuple, such as an LSTM's (h, c).
        ranges: name of an input or of a dynamic axis -> what it is drawn from when the graph is checked. Without one,
            an integer input named `lengths` holds 1..time with time among them, other integers stay below the smallest
            nn.Embedding, floats are normally distributed.
        outputs: names of the outputs; by default the keys or fields that the module returns, else output_0 and on.
        tolerance: how far an answer may be from PyTorch's, relative to the largest magnitude of its row; more is
            allowed where 4 times PyTorch's own float32 error is more.
        say: called with what is being done, a line at a time.

    Returns:
        The graph and what the comparison found.

    Raises:
        UnsupportedModelError: a part of the module, or of what it returns, cannot be exported.
        ParityError: the graph does not answer as the module does.
        ExportError: an input does not fit the module, PyTorch cannot trace it, or it freezes an axis.
    """
    refuse_unsupported(module)
    _check_signature(module, inputs)
    module, specs = taking_flat(module, inputs), flat_inputs(inputs)
    reference = copied(module)
    drawing, sizes, example, answers = _example(reference, new_drawing(module, specs, ranges))
    names = output_names([name for name, _ in answers], outputs, [spec.name for spec in specs])
    say(f"tracing {type(module).__name__} at {sizes_as_text(sizes)}")

    def trace(at: Sizes) -> Traced:
        values = example if at == sizes else drawing.draw(at, torch.Generator().manual_seed(0))
        examples = {spec.name: (values[spec.name], spec.dynamic_axes) for spec in specs}
        traced = traced_module(module, examples, names)
        with_unusual_values(traced.model, has_floats=any(spec.dtype == "float32" for spec in specs))
        return traced

    try:
        traced, parity = proven(trace, reference, drawing, sizes, names, say, tolerance=tolerance)
    except FrozenAxisError as error:
        # Two questions may leave one size: x[:, 2] and an if on x.size(1) > 3, where there are 3 steps.
        larger = {axis: 2 * size + 1 for axis, size in sizes.items()}
        if not (all(drawing.is_allowed(*each) for each in larger.items()) and has_answer(reference, drawing, larger)):
            raise
        say(f"tracing at {sizes_as_text(larger)}")
        try:
            traced, parity = proven(trace, reference, drawing, larger, names, say, tolerance=tolerance)
        except FrozenAxisError:
            raise error from None
    model = traced.model
    check_enough(parity, drawing)
    correct_shapes(model, list(zip(parity.compared, parity.shapes, strict=True)))
    notes = [f"PyTorch itself refuses {sizes_as_text(refused)} ({reason})." for refused, reason in parity.refused]
    if drawing.is_sorted:
        notes.append("lengths must go from long to short: the module packs with enforce_sorted=True.")
    return Exported(model, tuple(specs), tuple(names), census(model), parity, (*notes, *parity.notes))


def _check_signature(module: nn.Module, inputs: Sequence[Nested]) -> None:
    """Refuse inputs that are more, fewer or in another order than what forward takes."""
    names = [spec.name if isinstance(spec, InputSpec) else f"({', '.join(_names(spec))})" for spec in inputs]
    signature = inspect.signature(module.forward)
    try:
        bound = list(signature.bind(*names).arguments)
    except TypeError as error:
        raise ExportError(
            f"{type(module).__name__}.forward{signature} does not take the {len(names)} inputs {', '.join(names)}: "
            f"{error}. Give one --input for each argument, in order; several in parentheses are one argument, a tuple: "
            "--input '(h:float32[1,batch,6],c:float32[1,batch,6])'."
        ) from error
    if bound != names and sorted(bound) == sorted(names):
        raise ExportError(
            f"Inputs {', '.join(names)} are in another order than {type(module).__name__}.forward{signature} takes "
            f"them. Give them in that order: {', '.join(bound)}."
        )


def _names(inputs: Sequence[Nested]) -> list[str]:
    return [spec.name for spec in flat_inputs(inputs)]


def _example(module: nn.Module, drawing: Drawing) -> tuple[Drawing, Sizes, dict[str, Tensor], list[tuple[str, Tensor]]]:
    """Inputs that the module takes, to be traced with, and its answers.

    Raises:
        ExportError: it takes none that were tried, or answers the same inputs differently.
    """
    reason = ""
    for sizes in drawing.example_sizes():
        for is_sorted in (False, True):
            tried = replace(drawing, is_sorted=is_sorted)
            inputs = tried.draw(sizes, torch.Generator().manual_seed(0))
            before = _weights_of_layers(module)
            try:
                answers = eager_answers(module, inputs)
                again = eager_answers(module, inputs)
            except ExportError:
                raise
            except Exception as error:  # whatever the user's own code raises
                reason = reason or described(error)
                if _UNSORTED in str(error):
                    continue
                break
            _check_weights_kept(before, _weights_of_layers(module))
            _check_repeats(module, answers, again)
            return tried, sizes, inputs, answers
    raise ExportError(
        f"PyTorch itself fails on random inputs {', '.join(_as_text(spec) for spec in drawing.inputs)}: {reason}. "
        "Check dtypes and axes; say which values an input takes with --range NAME:LO..HI, which sizes with "
        "--range AXIS:LO..HI."
    )


def _weights_of_layers(module: nn.Module) -> dict[str, tuple[Tensor, int, int]]:
    """Each weight of a recurrent layer, and what of it changes when it is written over."""
    return {
        f"{name}.{weight}".removeprefix("."): (value, value._version, value.data_ptr())
        for name, layer in module.named_modules()
        if isinstance(layer, nn.RNNBase)
        for weight, value in layer._parameters.items()
        if value is not None
    }


def _check_weights_kept(before: dict[str, tuple[Tensor, int, int]], after: dict[str, tuple[Tensor, int, int]]) -> None:
    changed = [
        name
        for name in before
        if name in after and after[name][0] is before[name][0] and after[name][1:] != before[name][1:]
    ]
    if changed:
        raise UnsupportedModelError(
            f"The forward writes over weights of a recurrent layer at every call ({', '.join(changed)}), which a trace "
            "does not see. Assign the weight instead, as weight drop does: self.lstm.weight_hh_l0 = weight, where "
            "weight_hh_l0 is no parameter (del self.lstm._parameters['weight_hh_l0'])."
        )


def _check_repeats(module: nn.Module, answers: list[tuple[str, Tensor]], again: list[tuple[str, Tensor]]) -> None:
    for (name, first), (_, second) in zip(answers, again, strict=True):
        if first.shape != second.shape or difference(first.numpy(), second.numpy()).any():
            raise ExportError(
                f"{type(module).__name__} gives another {name} for the same inputs the second time: it draws random "
                "numbers in eval mode or keeps state between calls. Take noise and state as inputs, and return new "
                "state."
            )


def _as_text(spec: InputSpec) -> str:
    return f"{spec.name}:{spec.dtype}[{','.join(map(str, spec.axes))}]"
