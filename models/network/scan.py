"""A recurrent step repeated over a sequence: the plain loop in eager mode, training included, one Scan when exported.

`scan(step, frames, *states, lengths=lengths)` takes the place of a loop over time in a forward of your own. PyTorch's
exporter unrolls such a loop and so freezes its time axis; torch's own scan keeps the axis free, but its backward pass
costs many times the loop's. So this is torch's scan under torch.export and the loop everywhere else. Knows no cells.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan as torch_scan
from torch.utils._pytree import TreeSpec, keystr, tree_flatten, tree_flatten_with_path, tree_unflatten

Nested = Any  # a tensor, or tuples, lists and dicts of tensors
Step = Callable[..., Any]
_Flat = tuple[list[Tensor], list[Tensor], TreeSpec]  # outputs, states after them, nesting of the outputs


def scan(
    step: Step,
    frames: Nested,
    *states: Nested,
    lengths: Tensor | None = None,
    reverse: bool = False,
    past_end: Literal["zeros", "hold"] = "zeros",
    batch_first: bool = True,
) -> tuple[Any, ...]:
    """Repeat a step over time.

    Args:
        step: (frame, *states) -> (output, *states), each a tensor or tuples, lists and dicts of tensors; the states as
            they came, in nesting, shape and dtype. A row's answer may depend on nothing but that row.
        frames: [batch, time, ...], one tensor or nested ones; a frame is the same without the time axis.
        states: before the first step, at least one; with lengths each [batch, ...].
        lengths: int [batch], how many frames of each row count; None for all. At its end a row's states freeze,
            whatever the frames past it hold.
        reverse: from the last frame to the first, each output at the time of its frame. A row with a length begins at
            its own last frame.
        past_end: the outputs past a row's end: "zeros", or "hold" for the row's last output in time.
        batch_first: False for frames and outputs [time, batch, ...].

    Returns:
        The outputs as the step gives them with the time axis put in, [batch, time, ...], then the states after each
        row's last step.

    Raises:
        ValueError: frames, lengths, states or what the step gives do not fit; the message says which.
    """
    axis = 1 if batch_first else 0
    leaves, nesting = tree_flatten(frames)
    time, batch = _checked_frames(leaves, axis)
    _check_states(states, None if lengths is None else batch)
    timed = tree_unflatten([leaf.movedim(axis, 0) for leaf in leaves], nesting)
    is_valid = None if lengths is None else _valid(lengths, time, batch, leaves[0].device)
    outputs, after = over_time(step, timed, states, is_valid, reverse=reverse)
    flat, of_output = tree_flatten(outputs)
    if past_end == "hold" and lengths is not None:
        flat = [_held(output, lengths) for output in flat]
    return (tree_unflatten([output.movedim(0, axis) for output in flat], of_output), *after)


def over_time(
    step: Step, frames: Nested, states: Sequence[Nested], is_valid: Tensor | None = None, *, reverse: bool = False
) -> tuple[Nested, list[Nested]]:
    """As scan, of anything whose first axis is time.

    Args:
        step: see scan.
        frames: [time, ...], at least one tensor.
        states: before the first step.
        is_valid: bool [time, batch], false past a row's end; None where every row is full.
        reverse: from the last frame to the first.

    Returns:
        The outputs [time, ...] and the states after the last step.

    Raises:
        ValueError: what the step gives does not fit.
    """
    leaves, nesting = tree_flatten(frames)
    carried, of_states = tree_flatten(list(states))
    time = leaves[0].shape[0]
    # A single step needs no Scan, and its graph no loop.
    is_scan = torch.compiler.is_exporting() and (isinstance(time, torch.SymInt) or time > 1)
    repeated = _scanned if is_scan else _looped
    outputs, after, of_output = repeated(
        _FlatStep(step, nesting, of_states), leaves, carried, is_valid, reverse=reverse
    )
    return tree_unflatten(outputs, of_output), tree_unflatten(after, of_states)


class _FlatStep:
    """A step on flat lists of tensors; rows past their end keep their states and put out zeros."""

    def __init__(self, step: Step, nesting: TreeSpec, of_states: TreeSpec) -> None:
        self.step = step
        self.nesting = nesting
        self.of_states = of_states

    def __call__(self, frame: Sequence[Tensor], states: Sequence[Tensor], is_valid: Tensor | None) -> _Flat:
        given = tree_unflatten(list(states), self.of_states)
        answer = self.step(tree_unflatten(list(frame), self.nesting), *given)
        if not isinstance(answer, tuple | list) or len(answer) != 1 + len(given):
            found = f"{len(answer)} values" if isinstance(answer, tuple | list) else type(answer).__name__
            raise ValueError(
                f"The step takes a frame and {len(given)} states and gives {found}; it must give 1 + {len(given)} "
                "values, the output and the new states: return output, state"
            )
        outputs, of_output = tree_flatten(answer[0])
        after, of_states = tree_flatten(list(answer[1:]))
        if of_states != self.of_states:
            raise ValueError(f"The step takes its states as {self.of_states} and gives {of_states}; give them alike.")
        if is_valid is not None:
            after = [torch.where(_beside(is_valid, new), new, old) for new, old in zip(after, states, strict=True)]
            outputs = [torch.where(_beside(is_valid, value), value, torch.zeros_like(value)) for value in outputs]
        return outputs, after, of_output


def _looped(
    step: _FlatStep, frames: Sequence[Tensor], states: list[Tensor], is_valid: Tensor | None, *, reverse: bool
) -> _Flat:
    """Time-major frames -> time-major outputs and the last states."""
    found: list[list[Tensor]] = []
    times = range(len(frames[0]) if isinstance(frames[0].shape[0], int) else 1)
    for time in reversed(times) if reverse else times:
        outputs, states, of_output = step(
            [frame[time] for frame in frames], states, None if is_valid is None else is_valid[time]
        )
        found.append(outputs)
    return [torch.stack(each[::-1] if reverse else each) for each in zip(*found, strict=True)], states, of_output


def _scanned(
    step: _FlatStep, frames: Sequence[Tensor], states: list[Tensor], is_valid: Tensor | None, *, reverse: bool
) -> _Flat:
    """As _looped, as one Scan of the exported graph."""
    # Once in plain Python first: what does not fit is reported by its own line, and what the step asks about sizes is
    # kept by the trace. Nothing reads the result, so that it is not in the graph.
    outputs, after, of_output = step([frame[0] for frame in frames], states, None if is_valid is None else is_valid[0])
    _check_shapes(step, states, after)

    def combine(carried: list[Tensor], each: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        own, valid = (each, None) if is_valid is None else (each[:-1], each[-1])
        outputs, after, _ = step(own, carried, valid)
        return [_own(state) for state in after], [_own(output) for output in outputs]

    before = [_own(state) for state in states]
    scanned = list(frames) if is_valid is None else [*frames, is_valid]
    after, outputs = torch_scan(combine, before, scanned, dim=0, reverse=reverse)
    return list(outputs), list(after), of_output


def _own(value: Tensor) -> Tensor:
    """A contiguous copy: what a Scan carries and emits may share memory with nothing else."""
    return value.clone(memory_format=torch.contiguous_format)


def _valid(lengths: Tensor, time: int, batch: int, device: torch.device) -> Tensor:
    """Whether a step is before its row's end, bool [time, batch]."""
    if lengths.dim() != 1 or lengths.dtype.is_floating_point or lengths.shape[0] != batch:
        raise ValueError(
            f"lengths is {_shown(lengths)}; for frames of batch {batch} it must be integers [{batch}], one for each "
            "row."
        )
    positions = torch.arange(time, device=device, dtype=lengths.dtype)
    return positions.unsqueeze(1) < lengths.to(device).unsqueeze(0)


def _held(output: Tensor, lengths: Tensor) -> Tensor:
    """[time, batch, ...] with each row's last output at every time past its end."""
    positions = torch.arange(output.shape[0], device=output.device).unsqueeze(1)
    last = (lengths.to(output.device, torch.int64) - 1).clamp(min=0)
    return output[torch.minimum(positions, last), torch.arange(output.shape[1], device=output.device)]


def _beside(is_valid: Tensor, value: Tensor) -> Tensor:
    """[batch] with axes of 1 after it, as many as the value has."""
    return is_valid.reshape(is_valid.shape[0], *([1] * (value.dim() - 1)))


def _checked_frames(leaves: Sequence[Tensor], axis: int) -> tuple[int, int]:
    """Time and batch of the frames."""
    if not leaves or not all(isinstance(leaf, Tensor) and leaf.dim() >= 2 for leaf in leaves):
        found = ", ".join(_shown(leaf) for leaf in leaves) or "nothing"
        raise ValueError(f"frames is {found}; it must be tensors [batch, time, ...], or nested ones.")
    sizes = [(leaf.shape[axis], leaf.shape[1 - axis]) for leaf in leaves]
    if any(size != sizes[0] for size in sizes[1:]):
        raise ValueError(
            f"frames are {', '.join(_shown(leaf) for leaf in leaves)}; all must have one batch and one time."
        )
    time, batch = sizes[0]
    if isinstance(time, int) and time < 1:
        raise ValueError(f"frames is {_shown(leaves[0])}, without a time step; it must have at least one.")
    return time, batch


def _check_states(states: Sequence[Nested], batch: int | None) -> None:
    leaves = tree_flatten_with_path(list(states))[0]
    if not leaves:
        raise ValueError("scan was given no state; what keeps nothing from step to step needs no loop over time.")
    for path, leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise ValueError(f"State {keystr(path)} is {type(leaf).__name__}; it must be a tensor (a counter, too).")
        if batch is not None and (leaf.dim() < 1 or leaf.shape[0] != batch):
            raise ValueError(
                f"State {keystr(path)} is {_shown(leaf)}; with lengths it must be [{batch}, ...], its first axis the "
                "batch, so that a row's part of it can freeze where the row ends."
            )


def _check_shapes(step: _FlatStep, before: Sequence[Tensor], after: Sequence[Tensor]) -> None:
    """Refuse a step after which a state has another shape or dtype than it had."""
    paths = [path for path, _ in tree_flatten_with_path(tree_unflatten(list(before), step.of_states))[0]]
    for path, old, new in zip(paths, before, after, strict=True):
        if old.dtype != new.dtype or old.dim() != new.dim() or tuple(old.shape) != tuple(new.shape):
            raise ValueError(
                f"State {keystr(path)} is {_shown(old)} before a step and {_shown(new)} after it; begin with one of "
                "the shape and dtype that the step gives."
            )


def _shown(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')}[{', '.join(map(str, value.shape))}]"
