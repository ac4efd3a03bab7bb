"""A drawn module, exported, and compared with PyTorch where the command itself did not compare."""

import contextlib
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from export.user_module.export import Exported, export_module
from export.user_module.inputs import input_spec_from_text, value_range_from_text
from export.user_module.parity import ModuleParity, compare_answers, eager_answers
from export.user_module.precise import PreciseModule
from export.user_module.write import write_graph
from models.errors import ExportError, RunnerError
from runtime.distance import difference
from runtime.onnxruntime.child import ChildSession
from tests.export.user_module.fuzz.drawn import VOCABULARY, WIDTH, Case, Drawn

# batch, time; none is among the command's own
SIZES = ((1, 4), (3, 1), (2, 11), (7, 5), (6, 31), (2, 70), (35, 8), (3, 260))
CHANGES = ("usual", "large", "tiny", "zeros", "denormal", "NaN", "infinity", "infinities")
# How a refusal names what it refuses: a line of the module's code, or a part of it.
NAMES = re.compile(r"\.py, line \d+|stages\.\d+")


@dataclass(frozen=True)
class Outcome:
    """What came of one module.

    Attributes:
        case: the module.
        refusal: the message of the export; "" where it was exported.
        finding: what is wrong; "" where nothing is.
        num_compared: batches.
    """

    case: Case
    refusal: str = ""
    finding: str = ""
    num_compared: int = 0


def outcome_of(case: Case) -> Outcome:
    """Export a module and compare it."""
    module = case.module()
    specs = [input_spec_from_text(text) for text in case.inputs]
    least_time = case.least_time
    ranges = dict([value_range_from_text(f"time:{least_time}..4000")]) if least_time > 1 else None
    try:
        found = export_module(module, specs, ranges=ranges)
    except ExportError as error:
        message = str(error)
        is_named = NAMES.search(message) is not None
        if not case.is_refused and _takes_any(module, case):
            return Outcome(case, message, f"refused although it can be exported: {message}")
        return Outcome(case, message, "" if is_named else f"refused without a name: {message}")
    except Exception as error:
        return Outcome(case, finding=f"{type(error).__name__}: {error}")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "graph.onnx"
        write_graph(found.model, path)
        with ChildSession(path) as session:
            num_compared = 0
            for where, inputs in _inputs(case, least_time):
                try:
                    expected = [value for _, value in eager_answers(module, inputs)]
                except Exception:  # PyTorch does not take it
                    continue
                try:
                    outputs = ModuleParity.of(found.outputs).outputs
                    compare_answers(outputs, session, inputs, expected, PreciseModule(module), where)
                except ExportError as error:
                    if not _is_said(found, where) and not _is_rounding(module, inputs, expected, session):
                        return Outcome(case, finding=f"silently different: {error}")
                wrong = _wrongly_declared(found, inputs, [tuple(value.shape) for value in expected])
                if wrong:
                    return Outcome(case, finding=f"wrongly declared: {wrong} {where}")
                num_compared += 1
    return Outcome(case, num_compared=num_compared)


def _takes_any(module: nn.Module, case: Case) -> bool:
    """Whether PyTorch itself answers any inputs: three steps of every second of three steps never are there."""
    for _, inputs in _inputs(case, case.least_time):
        with contextlib.suppress(Exception):
            eager_answers(module, inputs)
            return True
    return False


def shrunk(outcome: Outcome) -> Outcome:
    """The same kind of finding with as few stages as can be."""
    kind = outcome.finding.partition(":")[0]
    for index in range(1, len(outcome.case.stages) - 1):
        stages = outcome.case.stages[:index] + outcome.case.stages[index + 1 :]
        try:
            smaller = outcome_of(replace(outcome.case, stages=stages))
        except Exception:  # the rest does not fit together
            continue
        if smaller.finding.partition(":")[0] == kind and "PyTorch itself fails" not in smaller.finding:
            return shrunk(smaller)
    return outcome


def _is_said(found: Exported, where: str) -> bool:
    """Whether the export's notes say that such inputs are answered otherwise."""
    kinds = {"NaN": "a NaN", "infinit": "infinit", "denormal": "denormal", "batch=0": "batch=0"}
    return any(
        sign in where and said in note
        for sign, said in kinds.items()
        for note in found.notes
        if "does not answer as PyTorch does" in note
    )


def _wrongly_declared(found: Exported, inputs: dict[str, Tensor], shapes: list[tuple[int, ...]]) -> str:
    """The first output whose shape is not what the file says; "" where all are."""
    sizes = {
        axis: inputs[spec.name].shape[number] for spec in found.inputs for number, axis in spec.dynamic_axes.items()
    }
    for output, shape in zip(found.model.graph.output, shapes, strict=True):
        declared = [dim.dim_param or dim.dim_value for dim in output.type.tensor_type.shape.dim]
        said = [
            sizes.get(each, size) if isinstance(each, str) else each for each, size in zip(declared, shape, strict=True)
        ]
        if said != list(shape):
            return f"{output.name} {declared} is {list(shape)}"
    return ""


def _is_rounding(module: Drawn, inputs: dict[str, Tensor], expected: list[Tensor], session: ChildSession) -> bool:
    """Whether a module whose weights and values are a rounding away is as far from PyTorch as the graph is.

    So it is where a number is divided by one that is almost 0, or where of two steps either is the largest.
    """
    generator = torch.Generator().manual_seed(0)
    try:
        found = session.run([], {name: value.numpy() for name, value in inputs.items()})
    except RunnerError:  # no answer at all is no rounding
        return False
    if [value.shape for value in found] != [tuple(value.shape) for value in expected]:
        return False
    distances = [
        float(difference(ours, wanted.numpy()).max(initial=0)) for ours, wanted in zip(found, expected, strict=True)
    ]
    changes = [0.0] * len(distances)
    for _ in range(8):
        other = copy.deepcopy(module)
        other.noise = 3e-7
        for parameter in other.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.data *= 1 + 3e-7 * noise
        answers = [value.numpy() for _, value in eager_answers(other, inputs)]
        for index, (ours, wanted) in enumerate(zip(answers, expected, strict=True)):
            changes[index] = max(changes[index], float(difference(ours, wanted.numpy()).max(initial=0)))
    return all(distance <= max(4 * change, 1e-5) for distance, change in zip(distances, changes, strict=True))


def _inputs(case: Case, least_time: int) -> Iterator[tuple[str, dict[str, Tensor]]]:
    generator = torch.Generator().manual_seed(case.seed + 1)
    for number, (batch, time) in enumerate((*SIZES, (0, 7))):
        if time < least_time:
            continue
        lengths = torch.randint(1, time + 1, (batch,), generator=generator)
        if batch:
            lengths[int(torch.randint(batch, (), generator=generator))] = time
        rest = {"lengths": lengths} if case.has_lengths else {}
        if case.source == "ids":
            ids = torch.randint(VOCABULARY, (batch, time), generator=generator)
            if number % 2:
                ids[torch.rand(ids.shape, generator=generator) < 0.4] = 0
            yield f"at batch={batch}, time={time}", {"ids": ids, **rest}
            continue
        shape = {"x": (batch, time, WIDTH), "wave": (batch, time), "steps": (time, batch, WIDTH)}[case.source]
        name = "wave" if case.source == "wave" else "x"
        for kind in CHANGES if number % 2 else ("usual", "large", "NaN"):
            values = _changed(torch.randn(shape, generator=generator), kind, generator)
            yield f"at batch={batch}, time={time}, {kind} values", {name: values, **rest}


def _changed(values: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    scale = {"large": 30.0, "tiny": 1e-5, "zeros": 0.0, "denormal": 1e-40}.get(kind, 1.0)
    values = values * scale
    numbers = {"NaN": [float("nan")], "infinity": [float("inf")], "infinities": [float("inf"), -float("inf")]}
    flat = values.flatten()
    for number in numbers.get(kind, []):
        if len(flat):
            flat[int(torch.randint(len(flat), (), generator=generator))] = number
    return flat.reshape(values.shape)
