"""A user's model of frames, forward(*inputs[, lengths], *states) -> (outputs, *states), behind `advance` and `step`.

Or step(*frames, *states) -> (outputs, *states) without such a forward: then `step` is that, and `advance` repeats it.
Inputs and outputs are [batch, time, ...], or [batch, ...] where a call has one. States are nested as the module likes,
float or integer; a module without any, such as one that reads in both directions, takes whole sequences.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.parity.errors import Errors
from export.parity.explained import Explained
from export.parity.limits import FP32_TOLERANCE
from export.user_module.constants import integers_of
from export.user_module.draw import new_drawing
from export.user_module.inputs import InputSpec, ValueRange
from export.user_module.outputs import named_tensors
from export.user_module.precise import PreciseModule
from export.user_module.repeatable import check_repeatable
from export.user_module.stepped import Steps, stepped, uses_step
from export.user_module.wrap.calls import called, rows_by_length, traced_for
from export.user_module.wrap.frames import LONG_SHAPES, SHAPES, advanced, random_rows
from export.user_module.wrap.longest import LONGEST_CALL, check_longest
from export.user_module.wrap.native import Native, NotNativeError
from export.user_module.wrap.ports import (
    Call,
    arguments_of,
    dynamic_axes,
    input_port,
    output_ports,
    parted,
    states_of_call,
)
from export.user_module.wrap.states import StateLayout, part_slices, state_layout
from models.architecture import StatePart, WrappedConfig
from models.errors import ExportError, UnsupportedModelError
from models.signature import Signature
from models.tasks import PADDING_MULTIPLE, SEQUENCE
from runtime.frames import MAX_CHUNK, Row, batched, num_frames, own_answer
from runtime.opening import OpenGraphs
from runtime.runner import Array

if TYPE_CHECKING:
    from export.tasks.task import WrapFacts

Floats = NDArray[np.float32]

_LONGEST_CALL_ADVICE = "Make its tables long enough, or clamp positions."
_SHARE_OF_NAN = 0.3


class UserSequenceModel(nn.Module):
    """The module with its states as one row.

    Args:
        module: the user's.
        signature: what it takes and gives.
        lengths_at: where `lengths` stands among its arguments; None where it takes none.
        layout: of its states; None where it has none.
        num_states: arguments after inputs and lengths, each a state.
        special: integers that its code names.
    """

    def __init__(
        self,
        module: nn.Module,
        signature: Signature,
        lengths_at: int | None,
        layout: StateLayout | None,
        num_states: int,
        special: Sequence[int],
    ) -> None:
        super().__init__()
        self.module = module
        self.signature = signature
        self.lengths_at = lengths_at
        self.layout = layout
        self.num_states = num_states
        self.special = tuple(special)
        self.remarks: list[str] = []

    @property
    def state_size(self) -> int:
        """D."""
        return 0 if self.layout is None else self.layout.size

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors of `advance`, in its order: outputs, and the new row where there is a state."""
        num_inputs = len(self.signature.inputs)
        inputs, rest = list(tensors[:num_inputs]), list(tensors[num_inputs:])
        if self.lengths_at is not None:
            inputs.insert(self.lengths_at, rest.pop(0).to(torch.int64))
        states = () if self.layout is None else self.layout.states_from_row(rest.pop(0))
        outputs, states = parted(self.module(*inputs, *states), self.num_states)
        flat = [tensor for _, tensor in named_tensors(outputs)]
        return (*flat, *(() if self.layout is None else (self.layout.row_from_states(list(states)),)))

    def graphs(self) -> dict[str, onnx.ModelProto]:
        """See UserModel.graphs."""
        task = self.signature.task(SEQUENCE, has_state=self.layout is not None)
        graphs = {}
        for graph in reversed(task.graphs):  # `advance` first: what is wrong shows there
            around = _Step(self) if graph.name == "step" else self
            least = self.signature.least_frames
            numbers = {"B": 3, "T": max(7, least + 4), "D": self.state_size}
            ports = {port.name: port for port in self.signature.inputs}
            inputs = {}
            for tensor in graph.inputs:
                axes = {
                    index: {"B": "batch", "T": "time"}[axis]
                    for index, axis in enumerate(tensor.shape)
                    if axis in ("B", "T")
                }
                value = ports[tensor.name].padding if tensor.name in ports else 0
                example = torch.full(tensor.sizes(numbers), value).to(getattr(torch, tensor.dtype))
                inputs[tensor.name] = (example, axes)
            if "lengths" in inputs:
                lengths = [numbers["T"], least + 3, least]
                inputs["lengths"] = (torch.tensor(lengths, dtype=torch.int32), {0: "batch"})
            ranges = {
                port.name: ValueRange(port.low, port.high)
                for port in self.signature.inputs
                if port.low is not None and port.high is not None
            }
            if least > 1:
                ranges["time"] = ValueRange(least, SEQUENCE.max_length or LONGEST_CALL)
            outputs = [tensor.name for tensor in graph.outputs]
            graphs[graph.name] = traced_for(
                self.module, around, graph.name, inputs, outputs, self.remarks, ranges=ranges
            )
        return graphs

    def config(self) -> WrappedConfig:
        """See UserModel.config."""
        parts: Sequence[StatePart] = () if self.layout is None else self.layout.parts
        return WrappedConfig(
            task="sequence",
            vocab_size=0,
            state=list(parts),
            signature=self.signature,
            special_ids=[number for number in self.special if number >= 0][:64],
        )

    def errors(self, opened: OpenGraphs) -> dict[str, float]:
        """See UserModel.errors: outputs and states, from zeros and from states that frames lead to."""
        errors, explained, answers = Errors(), Explained(), _Answers(self)
        shapes = SHAPES if self.layout is None else (*SHAPES, (3, MAX_CHUNK))
        for rows in random_rows(self.signature, (*shapes, *LONG_SHAPES), 10, self.special):
            state = np.zeros((len(rows), self.state_size), np.float32)
            for _ in range(1 if self.layout is None else 2):
                expected = answers.of(rows, state)
                exact = cache(partial(answers.precise, rows, state))
                found = advanced(opened, self.signature, rows, state)
                self._note_nan(expected)
                for index, row in enumerate(rows):
                    length = num_frames(self.signature, row)
                    for port in self.signature.outputs:
                        own = partial(own_answer, port, index=index, length=length)
                        mine, theirs = own(found[port.name]), own(expected[port.name])
                        explained.add(port.name, *((mine, theirs) if port.has_time else (mine[None], theirs[None])))
                        errors.add(_numbers(mine), _numbers(theirs), partial(_own_exact, own, exact, port.name))
                if self.layout is not None:
                    for part in part_slices(self.layout.parts):
                        one, other = (each["new_state"][:, part] for each in (found, expected))
                        errors.add(one, other, partial(_state_exact, exact, part))
                    state = expected["new_state"]
        return {"worst_error": errors.worst, "mean_error": errors.mean, **explained.figures()}

    def native(self) -> Native:
        """See UserModel.native."""
        raise NotNativeError("a model of frames never is")

    def _note_nan(self, expected: Mapping[str, Array]) -> None:
        sentence = f"{type(self.module).__name__} gives numbers that are not finite for some random frames."
        is_bad = any(value.dtype == np.float32 and not np.isfinite(value).all() for value in expected.values())
        if is_bad and sentence not in self.remarks:
            self.remarks.append(sentence)


class _Step(nn.Module):
    """One frame of each row: the module's own step, or the module called with a time of one."""

    def __init__(self, model: UserSequenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors of `step`, in its order."""
        signature, module, layout = self.model.signature, self.model.module, self.model.layout
        if isinstance(module, Steps) and layout is not None:
            outputs, states = parted(
                module.step(*tensors[:-1], *layout.states_from_row(tensors[-1])), self.model.num_states
            )
            return (*(tensor for _, tensor in named_tensors(outputs)), layout.row_from_states(list(states)))
        inputs = [
            tensor.unsqueeze(1) if port.has_time else tensor
            for port, tensor in zip(signature.inputs, tensors, strict=False)
        ]
        lengths = [torch.ones(tensors[0].shape[0], dtype=torch.int32)]
        rest = tensors[len(inputs) :]
        found = self.model(*inputs, *(lengths if signature.has_lengths else ()), *rest)
        outputs = [
            tensor[:, 0] if port.has_time else tensor for port, tensor in zip(signature.outputs, found, strict=False)
        ]
        return (*outputs, *found[len(outputs) :])


class _Answers:
    """PyTorch's answers in numpy arrays, eager."""

    def __init__(self, model: UserSequenceModel) -> None:
        self._model = model
        self._precise = PreciseModule(model)

    def of(self, rows: Sequence[Row], state: Floats) -> dict[str, Array]:
        """Outputs [batch, time, ...] or [batch, ...], and "new_state" [batch, D], in float32."""
        found = self._answer(partial(called, type(self._model.module).__name__, self._model), rows, state)
        assert found is not None
        return found

    def precise(self, rows: Sequence[Row], state: Floats) -> dict[str, Array] | None:
        """In float64; None where the module cannot be computed so."""
        return self._answer(self._precise.value, rows, state)

    def _answer(self, call: Callable[..., Any], rows: Sequence[Row], state: Floats) -> dict[str, Array] | None:
        signature = self._model.signature
        lengths = torch.tensor([num_frames(signature, row) for row in rows])
        arrays = list(batched(signature, rows, int(lengths.max())).values())
        if self._model.layout is not None:
            arrays.append(state)
        order, back = rows_by_length(lengths)
        value = call(*(torch.from_numpy(array)[order] for array in arrays))
        if value is None:
            return None
        names = [port.name for port in signature.outputs] + ["new_state"]
        return {name: tensor[back].numpy() for name, tensor in zip(names, value, strict=False)}


def _numbers(values: Array) -> Array:
    """Answers as they are compared: a decision counts as a number."""
    return values if values.dtype.kind == "f" else values.astype(np.float64)


def _own_exact(own: Callable[[Array], Array], exact: Callable[[], dict[str, Array] | None], name: str) -> Array | None:
    answer = exact()
    return None if answer is None else _numbers(own(answer[name]))


def _state_exact(exact: Callable[[], dict[str, Array] | None], part: slice) -> Array | None:
    answer = exact()
    return None if answer is None else answer["new_state"][:, part]


def user_sequence_model(module: nn.Module, facts: "WrapFacts") -> UserSequenceModel:
    """Look at what a module takes and gives.

    Args:
        module: the user's, in eval mode.
        facts: what it is wrapped with.

    Raises:
        ExportError: the module fails, or gives something that cannot be served; the message says which.
    """
    specs = [spec for spec in facts.inputs if not spec.is_lengths]
    lengths_at: int | None
    if uses_step(module, *(spec.name for spec in facts.inputs)):
        who = f"{type(module).__name__}.step"
        module, specs = _repeated(module, specs, facts)
        lengths_at, state_names = len(specs), module.state_names
    else:
        who = f"{type(module).__name__}.forward"
        lengths_at, state_names = arguments_of(module.forward, who, facts.inputs, specs)
    batch, time = dynamic_axes(specs)
    drawing = new_drawing(module, specs, facts.ranges)
    call = Call(who, module, drawing, (batch, time), lengths_at, bool(state_names))
    check_repeatable(who, lambda: call(*call.probes[1]))
    states_at = partial(states_of_call, call, len(state_names), who)
    layout = state_layout(states_at, state_names, who, may_be_integer=True) if state_names else None
    inputs = [input_port(spec, drawing, time, facts, module) for spec in specs]
    outputs = output_ports(call, len(state_names), [port.name for port in inputs], facts, who)
    least = 1 if time is None or time not in facts.ranges else int(facts.ranges[time].low)
    if least > 1 and layout is not None:
        raise ExportError(
            f"--range {time}:{least}.. says that a call has at least {least} frames, but a model with a state is given "
            "them one by one, too. Keep what it needs of the frames before in a state."
        )
    if least > PADDING_MULTIPLE:
        raise ExportError(f"--range {time}:{least}..: a model that needs over {PADDING_MULTIPLE} frames is not served.")
    signature = Signature(inputs=inputs, outputs=outputs, has_lengths=lengths_at is not None, least_frames=least)
    if time is not None:
        admitted = (SEQUENCE.max_length or LONGEST_CALL) if layout is None else LONGEST_CALL
        check_longest(who, lambda length: call(1, length), admitted, _LONGEST_CALL_ADVICE, "sequences", "frames")
    model = UserSequenceModel(module, signature, lengths_at, layout, len(state_names), integers_of(module))
    if layout is not None:
        _check_begins_from_zeros(model, call, who)
    return _with_nan(model)


def _repeated(module: nn.Module, specs: Sequence[InputSpec], facts: "WrapFacts") -> tuple[Steps, list[InputSpec]]:
    """A module with a step as one of sequences, and its inputs as that takes them: with time after the batch."""
    batch, time = dynamic_axes(specs)
    frames = [replace(spec, axes=tuple(axis for axis in spec.axes if axis != time)) for spec in specs]
    drawing = new_drawing(module, frames, facts.ranges)

    def frames_at(number: int) -> list[Tensor]:
        return list(drawing.draw({batch: number}, torch.Generator().manual_seed(0)).values())

    timed = [replace(spec, axes=(batch, time or "time", *spec.axes[1:])) for spec in frames]
    return stepped(module, frames_at), timed


def _check_begins_from_zeros(model: UserSequenceModel, call: Call, who: str) -> None:
    inputs = call.inputs(2, 5)
    assert model.layout is not None
    lengths = [torch.full((2,), 5, dtype=torch.int32)] if model.lengths_at is not None else []
    outputs, states = parted(call(2, 5), model.num_states)
    begun = [tensor for _, tensor in named_tensors(outputs)] + [model.layout.row_from_states(list(states))]
    again = called(who, model, *inputs, *lengths, torch.zeros(2, model.state_size))
    errors = Errors()
    for own, other in zip(again, begun, strict=True):
        errors.add(_numbers(own.numpy()), _numbers(other.numpy()))
    if not errors.worst <= FP32_TOLERANCE:
        raise UnsupportedModelError(
            f"{who} without states answers otherwise than with zeros (by {errors.difference:.3g} of the largest number "
            "of a row), so its initial state is something else, such as a learnt one. The server begins with zeros: "
            "subtract the initial state from what forward gives and add it to what it takes."
        )


def _with_nan(model: UserSequenceModel) -> UserSequenceModel:
    """The model, whose signature says of which inputs it takes NaN: where all that it gives stays finite."""
    signature = model.signature
    ports = []
    for port in signature.inputs:
        may_be_nan = port.dtype == "float32" and _takes_nan(model, port.name)
        ports.append(port.model_copy(update={"may_be_nan": may_be_nan}))
    model.signature = signature.model_copy(update={"inputs": ports})
    return model


def _takes_nan(model: UserSequenceModel, name: str) -> bool:
    answers = _Answers(model)
    generator = np.random.default_rng(0)
    for rows in random_rows(model.signature, ((3, 9), (2, 1)), 5, model.special):
        broken = []
        for row in rows:
            values = row[name].copy()
            values[generator.random(values.shape) < _SHARE_OF_NAN] = np.nan
            values.reshape(-1)[:1] = np.nan
            broken.append({**row, name: values})
        try:
            found = answers.of(broken, np.zeros((len(rows), model.state_size), np.float32))
        except ExportError:  # it checks for NaN itself
            return False
        for port in model.signature.outputs:
            for index, row in enumerate(rows):
                own = own_answer(port, found[port.name], index, num_frames(model.signature, row))
                if not np.isfinite(_numbers(own)).all():
                    return False
        if "new_state" in found and not np.isfinite(found["new_state"]).all():
            return False
    return True
