"""A module with step(frame, *states) -> (output, *states) and no loop of its own: its states, its steps as a sequence.

Where the states begin is `initial_state(batch)` (or init_state, init_hidden, zero_state), which gives one or all of
them; or `state_sizes`, a width or a shape for each, for zeros; or every state of `step` has a default.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map, tree_unflatten

from export.user_module.source import described
from models.errors import ExportError, UnsupportedModelError
from models.network.scan import scan

_PROBES = (2, 3)  # batches
_METHODS = ("initial_state", "init_state", "init_hidden", "zero_state")


def has_step_only(module: nn.Module) -> bool:
    """Whether a module has a step, and nobody wrote a forward for it."""
    is_without = type(module).forward is nn.Module.forward and "forward" not in vars(module)
    return is_without and callable(getattr(module, "step", None))


def uses_step(module: nn.Module, *arguments: str) -> bool:
    """Whether a module's step is what is served: it has one, and no forward that takes the arguments."""
    if has_step_only(module) or not callable(getattr(module, "step", None)):
        return has_step_only(module)
    try:
        inspect.signature(module.forward).bind(*arguments)
    except TypeError:
        return True
    return False


def initial_states(module: nn.Module, num_frames: int = 1) -> Callable[[int], list[Any]] | None:
    """How the states of a module's step begin.

    Args:
        module: has a step.
        num_frames: arguments of the step before its states.

    Returns:
        batch -> each state, nested as the step takes it; None where every state has a default, and the step is called
        without.

    Raises:
        UnsupportedModelError: neither a method nor sizes nor defaults say where they begin, or there are too many.
    """
    who = f"{type(module).__name__}.step"
    states = list(inspect.signature(module.step).parameters.values())[num_frames:]  # type: ignore[arg-type]
    names = [state.name for state in states if state.kind is not state.VAR_KEYWORD]
    method = next((found for name in _METHODS if callable(found := getattr(module, name, None))), None)
    sizes = getattr(module, "state_sizes", None)
    if not states:
        raise UnsupportedModelError(f"{who} takes no state; give it some, step(frame, *states) -> (output, *states).")
    if method is not None:
        owner = f"{type(module).__name__}.{method.__name__}(batch)"
        return lambda batch: _as_list(_called(owner, method, batch), states, owner)
    if sizes is not None:
        listed = list(sizes) if isinstance(sizes, tuple | list) else [sizes]
        shapes = [tuple(size) if isinstance(size, tuple | list) else (size,) for size in listed]
        _check_number(len(shapes), states, f"{type(module).__name__}.state_sizes")
        return lambda batch: [torch.zeros(batch, *shape) for shape in shapes]
    if all(state.default is not state.empty for state in states):
        return None
    zeros, sizes = (
        ", ".join(form.format(name) for name in names) for form in ("torch.zeros(batch, {}_size)", "{}_size")
    )
    raise UnsupportedModelError(
        f"{who} takes the states {', '.join(names)}, and nothing says where they begin. Add to the class: def "
        f"initial_state(self, batch): return {zeros}; or, for zeros, self.state_sizes = ({sizes},)."
    )


def _as_list(value: Any, states: Sequence[inspect.Parameter], who: str) -> list[Any]:
    """What an initial_state gives as one value for each state of the step."""
    if not isinstance(value, tuple | list) or (len(states) == 1 and len(value) > 1 and _is_named(states[0])):
        return [value]
    _check_number(len(value), states, who)
    return list(value)


def _is_named(state: inspect.Parameter) -> bool:
    return state.kind is not state.VAR_POSITIONAL


def _check_number(number: int, states: Sequence[inspect.Parameter], who: str) -> None:
    named = [state for state in states if _is_named(state)]
    least = sum(state.default is state.empty for state in named)
    if number < least or (number > len(named) and len(named) == len(states)):
        raise UnsupportedModelError(
            f"{who} gives {number} states, the step takes {', '.join(state.name for state in states)}; give one for "
            "each."
        )


def _called(who: str, method: Callable[..., Any], *arguments: Any) -> Any:
    try:
        with torch.no_grad():
            return method(*arguments)
    except Exception as error:  # whatever the user's own code raises
        raise ExportError(f"{who} fails in PyTorch: {described(error)}.") from error


@dataclass(frozen=True)
class _Layout:
    nesting: TreeSpec

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Layout":
        """Itself: PyTorch warns when a nesting is copied."""
        return self


class Steps(nn.Module):
    """A module with a step as one whose forward takes sequences: (*frames, lengths, *states) -> (outputs, *states).

    States may be left out, and zeros are where they begin: where the user's own begin otherwise there is one more,
    [batch, 1], which is 0 before the first step and 1 after it.

    Args:
        module: the user's.
        frames_at: batch -> the arguments of its step before the states.

    Attributes:
        state_names: of the states, as step calls them.

    Raises:
        ExportError: the step fails, or nothing says where its states begin; the message says what to add.
    """

    def __init__(self, module: nn.Module, frames_at: Callable[[int], Sequence[Tensor]]) -> None:
        super().__init__()
        self.module = module
        self._who = f"{type(module).__name__}.step"
        self.num_frames = len(frames_at(2))
        initial = initial_states(module, self.num_frames)
        states_at = partial(self._zeros, frames_at) if initial is None else initial
        (first, nesting), (wider, _) = (tree_flatten(states_at(batch)) for batch in _PROBES)
        self._layout = _Layout(nesting)
        self._batch_axes = [_batch_axis(self._who, *pair) for pair in zip(first, wider, strict=True)]
        begins = [_moved(leaf, axis, 0)[:1].clone() for leaf, axis in zip(first, self._batch_axes, strict=True)]
        self._num_begins = len(begins)
        for index, leaf in enumerate(begins):
            self.register_buffer(f"begin_{index}", leaf, persistent=False)
        self._is_marked = any(bool(leaf.any()) for leaf in begins)
        parameters = list(inspect.signature(module.step).parameters.values())[self.num_frames :]  # type: ignore[arg-type]
        own = [parameter.name for parameter in parameters if _is_named(parameter)][: self._layout.nesting.num_children]
        own += [f"state{index}" for index in range(len(own), self._layout.nesting.num_children)]
        self.state_names = [*own, *(["begun"] if self._is_marked else [])]
        self.step(*frames_at(2), *states_at(2), *([torch.zeros(2, 1)] if self._is_marked else []))

    def forward(self, *inputs: Any) -> tuple[Any, ...]:
        """Frames [batch, time, ...], lengths [batch], states before -> outputs [batch, time, ...], states after."""
        frames, lengths, states = inputs[: self.num_frames], inputs[self.num_frames], inputs[self.num_frames + 1 :]
        before = self._leaves(states) if states else self._nothing(frames[0].shape[0])
        outputs, after = scan(self._flat_step, frames, before, lengths=lengths)
        return (outputs, *self._nested(after))

    def step(self, *inputs: Any) -> tuple[Any, ...]:
        """Frames [batch, ...], states before -> output [batch, ...], states after: one step, without a loop."""
        output, after = self._flat_step(inputs[: self.num_frames], self._leaves(inputs[self.num_frames :]))
        return (output, *self._nested(after))

    def states(self, batch: int) -> list[Any]:
        """Before the first step, as forward takes them."""
        return self._nested(self._nothing(batch))

    def batch_axis(self, index: int) -> int:
        """Of each tensor of the states."""
        return [*self._batch_axes, 0][index]

    def _flat_step(self, frames: Sequence[Tensor], before: Sequence[Tensor]) -> tuple[Any, list[Tensor]]:
        """States as flat lists, the batch first."""
        if self._is_marked:
            *before, begun = before
            begins = [getattr(self, f"begin_{index}") for index in range(self._num_begins)]
            is_begun = [begun.reshape(-1, *[1] * (leaf.dim() - 1)) > 0 for leaf in before]
            before = [torch.where(*each) for each in zip(is_begun, before, begins, strict=True)]
        leaves = [_moved(leaf, 0, axis) for leaf, axis in zip(before, self._batch_axes, strict=True)]
        answer = self.module.step(*frames, *tree_unflatten(leaves, self._layout.nesting))  # type: ignore[operator]
        num_states = self._layout.nesting.num_children
        if not isinstance(answer, tuple | list) or len(answer) != 1 + num_states:
            found = f"{len(answer)} values" if isinstance(answer, tuple | list) else type(answer).__name__
            raise UnsupportedModelError(
                f"{self._who} gives {found}; give the output and {num_states} new states: "
                f"{', '.join(self.state_names)}."
            )
        after, nesting = tree_flatten(list(answer[1:]))
        if nesting != self._layout.nesting:
            raise UnsupportedModelError(f"{self._who} takes its states as {self._layout.nesting} and gives {nesting}.")
        after = [_moved(leaf, axis, 0) for leaf, axis in zip(after, self._batch_axes, strict=True)]
        return answer[0], [*after, torch.ones_like(begun)] if self._is_marked else after

    def _leaves(self, states: Sequence[Any]) -> list[Tensor]:
        own = states[: self._layout.nesting.num_children]
        leaves = tree_flatten(list(own))[0]
        return [*(_moved(*each, 0) for each in zip(leaves, self._batch_axes, strict=True)), *states[len(own) :]]

    def _nested(self, leaves: list[Tensor]) -> list[Any]:
        own = leaves[: self._num_begins]
        back = [_moved(leaf, 0, axis) for leaf, axis in zip(own, self._batch_axes, strict=True)]
        return [*tree_unflatten(back, self._layout.nesting), *leaves[self._num_begins :]]

    def _nothing(self, batch: int) -> list[Tensor]:
        begins = [getattr(self, f"begin_{index}") for index in range(self._num_begins)]
        zeros = [begin.new_zeros(batch, *begin.shape[1:]) for begin in begins]
        return [*zeros, begins[0].new_zeros(batch, 1)] if self._is_marked else zeros

    def _zeros(self, frames_at: Callable[[int], Sequence[Tensor]], batch: int) -> list[Any]:
        """Of a step whose states have defaults: zeros like what it gives, from which it must begin."""
        frames = frames_at(batch)
        begun = _called(self._who, self.module.step, *frames)  # type: ignore[arg-type]
        if not isinstance(begun, tuple | list) or len(begun) < 2:
            raise UnsupportedModelError(
                f"{self._who} gives {type(begun).__name__}; give the output and the new states."
            )
        zeros = tree_map(torch.zeros_like, list(begun[1:]))
        again = _called(self._who, self.module.step, *frames, *zeros)  # type: ignore[arg-type]
        pairs = zip(tree_flatten(list(begun))[0], tree_flatten(list(again))[0], strict=True)
        if not all(torch.allclose(*pair, rtol=1e-5, atol=1e-6, equal_nan=True) for pair in pairs):
            raise UnsupportedModelError(
                f"{self._who} without states answers otherwise than with zeros, so it begins from something else. Say "
                "from what: def initial_state(self, batch): return ..."
            )
        found: list[Any] = zeros
        return found


def stepped(module: nn.Module, frames_at: Callable[[int], Sequence[Tensor]]) -> Steps:
    """See Steps; of a class with the module's own name, by which messages call it."""
    kind: type[Steps] = type(type(module).__name__, (Steps,), {})
    return kind(module, frames_at)


def _batch_axis(who: str, first: Tensor, wider: Tensor) -> int:
    axes = [axis for axis, size in enumerate(first.shape) if size != wider.shape[axis]]
    if first.dim() != wider.dim() or len(axes) != 1 or (first.shape[axes[0]], wider.shape[axes[0]]) != _PROBES:
        raise UnsupportedModelError(
            f"A state of {who} begins as {list(first.shape)} for a batch of {_PROBES[0]} and as {list(wider.shape)} "
            f"for one of {_PROBES[1]}; every state has one axis of the batch's size."
        )
    return axes[0]


def _moved(state: Tensor, source: int, target: int) -> Tensor:
    return state if source == target else state.movedim(source, target)
