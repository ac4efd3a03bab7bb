"""What a user's model of frames takes and gives, found by its forward's signature and by calling it. Traces nothing."""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from export.user_module.draw import Drawing, Sizes
from export.user_module.inputs import InputSpec
from export.user_module.outputs import named_tensors, output_names
from export.user_module.wrap.calls import called
from models.errors import ExportError, UnsupportedModelError
from models.signature import RESERVED, DataType, InputPort, Port

if TYPE_CHECKING:
    from export.tasks.task import WrapFacts

_PROBES = ((2, 5), (3, 5), (3, 29))  # batch, time; far enough apart that strided layers give other numbers of steps
_DTYPES: dict[torch.dtype, DataType] = {
    torch.float32: "float32",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.bool: "bool",
}
_OPTIONAL = " Each state needs a default, because the server begins without any: def forward(self, frames, h=None)."


class Call:
    """Calls the user's forward with random inputs and no states, rows as long as can be.

    Args:
        who: the forward, for messages.
        module: the user's.
        drawing: how its inputs are drawn, without lengths.
        axes: the names of batch and time; no time where no input has any.
        lengths_at: where `lengths` stands among the arguments; None where it takes none.
        has_states: whether it takes states.

    Attributes:
        probes: batches and times that it can be called with.
    """

    def __init__(
        self,
        who: str,
        module: nn.Module,
        drawing: Drawing,
        axes: tuple[str, str | None],
        lengths_at: int | None,
        has_states: bool,
    ) -> None:
        self._who = who
        self._module = module
        self._drawing = drawing
        self._axes = axes
        self._lengths_at = lengths_at
        self._advice = _OPTIONAL if has_states else ""
        least = 0 if axes[1] is None or axes[1] not in drawing.ranges else int(drawing.ranges[axes[1]].low)
        self.probes = tuple((batch, time + max(0, least - _PROBES[0][1])) for batch, time in _PROBES)

    def inputs(self, batch: int, time: int) -> list[Tensor]:
        """Random inputs, without lengths."""
        sizes: Sizes = {axis: size for axis, size in zip(self._axes, (batch, time), strict=True) if axis is not None}
        return list(self._drawing.draw(sizes, torch.Generator().manual_seed(batch + 1000 * time)).values())

    def __call__(self, batch: int, time: int) -> Any:
        """What forward returns."""
        arguments = self.inputs(batch, time)
        if self._lengths_at is not None:
            arguments.insert(self._lengths_at, torch.full((batch,), time))
        return called(self._who, self._module, *arguments, advice=self._advice)


def dynamic_axes(specs: Sequence[InputSpec]) -> tuple[str, str | None]:
    """The names of the batch and time axes, the only dynamic ones."""
    found = {axis for spec in specs for axis in spec.dynamic_axes.values()}
    batches = {spec.axes[0] if spec.axes else 1 for spec in specs}
    if len(batches) != 1 or not isinstance(next(iter(batches)), str):
        raise ExportError(
            "The first axis of every input is the batch, of one name: --input 'frames:float32[batch,time,8]'."
        )
    (batch,) = batches
    times = found - {batch}
    for spec in specs:
        if spec.name in RESERVED:
            raise ExportError(f"Input {spec.name} has a name that the graphs use themselves: {', '.join(RESERVED)}.")
        if any(index > 1 for index in spec.dynamic_axes):
            raise ExportError(
                f"Input {spec.name} has a word beyond its second axis. The batch is the first axis, the time the "
                "second, and all others are numbers: --input 'frames:float32[batch,time,8]'."
            )
    if len(times) > 1:
        raise ExportError(f"The inputs have the axes {', '.join(sorted(times))} in time; call them all alike.")
    return str(batch), next(iter(times), None)


def arguments_of(
    forward: Callable[..., Any], who: str, given: Sequence[InputSpec], specs: Sequence[InputSpec]
) -> tuple[int | None, list[str]]:
    """Where `lengths` stands among the arguments, and the names of the states after it."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [item.name for item in inspect.signature(forward).parameters.values() if item.kind in kinds]
    declared = [index for index, spec in enumerate(given) if spec.is_lengths]
    if declared:
        return declared[0], names[len(given) :]
    if len(names) < len(specs):
        raise UnsupportedModelError(
            f"{who}{inspect.signature(forward)} takes {len(names)} arguments; {len(specs)} inputs were given: "
            f"{', '.join(spec.name for spec in specs)}."
        )
    if len(names) > len(specs) and names[len(specs)] == "lengths":
        return len(specs), names[len(specs) + 1 :]
    return None, names[len(specs) :]


def parted(value: Any, num_states: int) -> tuple[Any, tuple[Any, ...]]:
    """What forward returns as outputs, nested as they are, and states."""
    if not num_states:
        return value, ()
    outputs, states = tuple(value[:-num_states]), tuple(value[-num_states:])
    return (outputs[0] if len(outputs) == 1 else outputs), states


def states_of_call(call: Call, num_states: int, who: str, batch: int, time: int) -> list[Any]:
    """The states that a call gives, for export.user_module.wrap.states. Raises UnsupportedModelError."""
    value = call(batch, time)
    if not isinstance(value, tuple | list) or len(value) <= num_states:
        shown = type(value).__name__ + (f" of {len(value)}" if isinstance(value, tuple | list) else "")
        raise UnsupportedModelError(
            f"{who} takes {num_states} states and gives {shown}; give (outputs, *states), with as many states."
        )
    return list(parted(value, num_states)[1])


def input_port(spec: InputSpec, drawing: Drawing, time: str | None, facts: "WrapFacts", module: nn.Module) -> InputPort:
    """One input of the signature; whether it takes NaN is found later.

    Raises:
        ExportError: it holds integers, and it is not known which are allowed.
    """
    has_time = time is not None and spec.axes[1:2] == (time,)
    shape = [size for size in spec.axes[2 if has_time else 1 :] if isinstance(size, int)]
    wanted = facts.ranges.get(spec.name)
    low, high = (None, None) if wanted is None else (float(wanted.low), float(wanted.high))
    if wanted is None and spec.dtype.startswith("int"):
        kinds = (nn.Embedding, nn.EmbeddingBag)
        if not any(isinstance(part, kinds) for part in module.modules()):
            raise ExportError(
                f"Input {spec.name} holds integers and {type(module).__name__} has no embedding, so it is not known "
                f"which are allowed. Say it: --range {spec.name}:0..99"
            )
        low, high = 0.0, float(drawing.num_ids - 1)
    return InputPort(name=spec.name, dtype=spec.dtype, shape=shape, has_time=has_time, low=low, high=high)  # type: ignore[arg-type]


def output_ports(call: Call, num_states: int, inputs: Sequence[str], facts: "WrapFacts", who: str) -> list[Port]:
    """The outputs of the signature.

    Args:
        call: of the forward.
        num_states: that it gives after its outputs.
        inputs: names of the inputs.
        facts: what it is wrapped with.
        who: the forward, for messages.

    Raises:
        ExportError: an output cannot be served; the message says why.
    """
    probes = [named_tensors(parted(call(*probe), num_states)[0]) for probe in call.probes]
    names = output_names([name for name, _ in probes[0]], facts.outputs or None, inputs)
    ports = []
    for index, name in enumerate(names):
        tensors = [probe[index][1] for probe in probes]
        ports.append(_output_port(name, tensors, call, who, has_states=num_states > 0))
    return ports


def _output_port(name: str, tensors: Sequence[Tensor], call: Call, who: str, *, has_states: bool) -> Port:
    shapes = [list(tensor.shape) for tensor in tensors]
    if name in RESERVED:
        raise ExportError(f"Output {name} has a name that the graphs use themselves: {', '.join(RESERVED)}.")
    if tensors[0].dtype not in _DTYPES:
        dtype = str(tensors[0].dtype).removeprefix("torch.")
        raise UnsupportedModelError(f"{who} gives output {name} as {dtype}; give one of {', '.join(_DTYPES.values())}.")
    sizes = [shape[:1] for shape in shapes]
    if sizes != [[batch] for batch, _ in call.probes]:
        raise UnsupportedModelError(
            f"{who} gives output {name} of shape {shapes[0]} for a batch of {call.probes[0][0]}; its first axis is the "
            "batch."
        )
    has_time = shapes[1][1:2] != shapes[2][1:2]
    has_own_steps = has_time and [shape[1] for shape in shapes] != [time for _, time in call.probes]
    if has_own_steps and has_states:
        raise UnsupportedModelError(
            f"{who} gives output {name} with {shapes[2][1]} steps for {call.probes[2][1]} frames. With states, give "
            "one for each frame, or one for the whole call."
        )
    rest = [shape[2 if has_time else 1 :] for shape in shapes]
    if rest[0] != rest[1] or rest[1] != rest[2]:
        raise UnsupportedModelError(
            f"{who} gives output {name} of shapes {shapes[1]} and {shapes[2]} for {call.probes[1][1]} and "
            f"{call.probes[2][1]} frames; besides batch and time, in this order, its axes must be fixed."
        )
    if 0 in rest[0]:
        raise UnsupportedModelError(f"{who} gives output {name} of shape {shapes[0]}, which holds no number.")
    dtype = _DTYPES[tensors[0].dtype]
    return Port(name=name, dtype=dtype, shape=rest[0], has_time=has_time, has_own_steps=has_own_steps)
