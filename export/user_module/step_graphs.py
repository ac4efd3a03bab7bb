"""`python -m export module` of a module with a step: the graphs `step` and `advance`, each state tensor by its name."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten, tree_flatten_with_path, tree_unflatten

from export.parity.limits import FP32_TOLERANCE
from export.user_module.draw import new_drawing
from export.user_module.export import Exported, export_module
from export.user_module.inputs import DTYPES, InputSpec, Nested, ValueRange, flat_inputs
from export.user_module.outputs import named_tensors, output_names
from export.user_module.stepped import Steps, stepped
from models.errors import ExportError

_TIME = "time"


class _Flat(nn.Module):
    """Steps with each tensor of the states as an argument of its own.

    Args:
        steps: the module.
        states: nested as it takes them, to know how.
        num_before: arguments before the states.
        is_sequence: whether it takes frames of many steps, and lengths.
    """

    def __init__(self, steps: Steps, states: Sequence[Any], *, is_sequence: bool) -> None:
        super().__init__()
        self.steps = steps
        self.nest = _Nesting(states)
        self.num_before = steps.num_frames + is_sequence
        self.is_sequence = is_sequence

    def forward(self, *inputs: Tensor) -> tuple[Any, ...]:
        """The output, and the new states in the order of the states."""
        states = self.nest.nested(inputs[self.num_before :])
        call = self.steps if self.is_sequence else self.steps.step
        output, *after = call(*inputs[: self.num_before], *states)
        return (output, tree_flatten(after)[0])


class _Nesting:
    def __init__(self, states: Sequence[Any]) -> None:
        self._spec = tree_flatten(list(states))[1]

    def nested(self, leaves: Sequence[Tensor]) -> list[Any]:
        found: list[Any] = tree_unflatten(list(leaves), self._spec)
        return found

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Nesting":
        """Itself: PyTorch warns when a nesting is copied."""
        return self


def export_steps(
    module: nn.Module,
    arguments: Sequence[Nested],
    *,
    ranges: Mapping[str, ValueRange] | None = None,
    outputs: Sequence[str] | None = None,
    tolerance: float = FP32_TOLERANCE,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Exported]:
    """Export a module with a step and check both graphs against it.

    Args:
        module: as export.user_module.stepped has it.
        arguments: what its step takes before the states, the batch first; none a tuple.
        ranges: see export_module.
        outputs: names for the step's output, in order; by default as export_module names them.
        tolerance: see export_module.
        say: called with what is being done, a line at a time.

    Returns:
        `step`: frames and states -> output and new states; `advance`: the same with frames [batch, time, ...] and
        lengths int64 [batch] in front of the states, outputs zero past a row's end. Zeros are where states begin.

    Raises:
        ExportError: see export_module.
    """
    frames = flat_inputs(arguments)
    if len(frames) != len(arguments):
        raise ExportError("A step takes tensors before its states, no tuples of them; give one --input for each.")
    for spec in frames:
        if not spec.axes or not isinstance(spec.axes[0], str) or spec.axes[0] != frames[0].axes[0]:
            raise ExportError(
                f"Input {spec.name} has the axes {', '.join(map(str, spec.axes)) or 'none'}. What a step takes has the "
                "batch first, a word, as in frame:float32[batch,80]; time is put in after it."
            )
    batch = str(frames[0].axes[0])
    own_names = {spec.name for spec in frames} | {axis for spec in frames for axis in spec.dynamic_axes.values()}
    drawing = new_drawing(
        module, list(frames), {name: each for name, each in (ranges or {}).items() if name in own_names}
    )

    def frames_at(number: int) -> list[Tensor]:
        sizes = {**drawing.small_sizes(), batch: number}
        return list(drawing.draw(sizes, torch.Generator().manual_seed(0)).values())

    steps = stepped(module.eval(), frames_at)
    states = steps.states(2)
    of_states: list[InputSpec] = []
    for path, leaf in tree_flatten_with_path(states)[0]:
        name = steps.state_names[int(_words(path[:1])[0])] + "".join(f"_{part}" for part in _words(path[1:]))
        axes: list[str | int] = list(leaf.shape)
        axes[steps.batch_axis(len(of_states))] = batch
        dtype = next(known for known, found in DTYPES.items() if found == leaf.dtype)
        of_states.append(InputSpec(name, dtype, tuple(axes)))
    answer, *_ = steps.step(*frames_at(2), *states)
    names = output_names([name for name, _ in named_tensors(answer)], outputs, [spec.name for spec in frames])
    names += [f"new_{spec.name}" for spec in of_states]
    timed = [InputSpec(spec.name, spec.dtype, (batch, _TIME, *spec.axes[1:])) for spec in frames]
    lengths = InputSpec("lengths", "int64", (batch,))
    inputs = {"step": [*frames, *of_states], "advance": [*timed, lengths, *of_states]}
    found = {}
    for graph, specs in inputs.items():
        kind: type[_Flat] = type(type(module).__name__, (_Flat,), {})
        flat = kind(steps, states, is_sequence=graph == "advance")
        own = {name: each for name, each in (ranges or {}).items() if graph == "advance" or name != _TIME}
        found[graph] = export_module(flat, specs, ranges=own, outputs=names, tolerance=tolerance, say=say)
    return found


def _words(path: Sequence[Any]) -> list[str]:
    return ["".join(letter for letter in keystr((part,)) if letter.isalnum() or letter == "_") for part in path]
