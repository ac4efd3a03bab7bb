"""A user's states, nested as they like and with the batch on any axis, as one row of numbers, and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import TreeSpec, keystr, tree_flatten_with_path, tree_unflatten

from models.architecture import StatePart
from models.errors import UnsupportedModelError

_PROBES = ((2, 5), (3, 5), (3, 7))  # batch, time
_INTEGERS = (torch.int64, torch.int32, torch.bool)  # what may be cast to the row's float32 and back


@dataclass(frozen=True)
class StateLayout:
    """How the states lie in the row.

    Attributes:
        parts: names and shapes without the batch, in the order of the row.
        batch_axes: of each part.
        nesting: how a module takes and gives them.
    """

    parts: tuple[StatePart, ...]
    batch_axes: tuple[int, ...]
    nesting: TreeSpec

    def __deepcopy__(self, memo: dict[int, Any]) -> "StateLayout":
        """Itself: nothing of it changes, and PyTorch warns when a nesting is copied."""
        return self

    @property
    def size(self) -> int:
        """D."""
        return sum(part.size for part in self.parts)

    def row_from_states(self, states: Any) -> Tensor:
        """Nested states -> [batch, D], of their dtype.

        Raises:
            UnsupportedModelError: they are nested otherwise than when the layout was found.
        """
        # The module in float64 is what errors are judged by.
        leaves, nesting = _leaves(states, may_be_precise=True, may_be_integer=True)
        if nesting != self.nesting:
            raise UnsupportedModelError(
                f"The module gives its states once as {self.nesting}, once as {nesting}; give them always alike."
            )
        is_precise = any(leaf.dtype == torch.float64 for leaf in leaves)
        leaves = [
            leaf if leaf.is_floating_point() else leaf.double() if is_precise else leaf.float() for leaf in leaves
        ]
        rows = [
            leaf.movedim(axis, 0).reshape(-1, part.size) if leaf.dim() > 1 else leaf.unsqueeze(1)
            for leaf, axis, part in zip(leaves, self.batch_axes, self.parts, strict=True)
        ]
        return torch.cat(rows, dim=1) if len(rows) > 1 else rows[0]

    def states_from_row(self, row: Tensor) -> Any:
        """float32 [batch, D] -> nested states."""
        pieces = torch.split(row, [part.size for part in self.parts], dim=1) if len(self.parts) > 1 else (row,)
        leaves = [
            _as(part.dtype, piece.reshape(-1, *part.shape).movedim(0, axis).contiguous())
            for piece, axis, part in zip(pieces, self.batch_axes, self.parts, strict=True)
        ]
        return tree_unflatten(leaves, self.nesting)


def part_slices(parts: Sequence[StatePart]) -> list[slice]:
    """Where each part lies in the row; parts are compared one by one, so that a counter hides nothing of the others."""
    ends = list(accumulate(part.size for part in parts))
    return [slice(end - part.size, end) for end, part in zip(ends, parts, strict=True)]


def _as(dtype: str, piece: Tensor) -> Tensor:
    return piece if dtype == "float32" else piece.to(getattr(torch, dtype))


def state_layout(
    states_at: Callable[[int, int], Any], names: Sequence[str], who: str, *, may_be_integer: bool = False
) -> StateLayout:
    """Find each state's batch axis by calling the module with batches and times of different sizes.

    Args:
        states_at: (batch, time) -> the states, a sequence.
        names: what to call the states; further ones are numbered.
        who: the method that gives them, for messages.
        may_be_integer: whether integers and truth values are states, too.

    Raises:
        UnsupportedModelError: a state is no float32 tensor, has no batch axis, or a shape that depends on the time.
    """
    (first, nesting), (wider, other), (longer, third) = (
        _leaves(states_at(*probe), may_be_integer=may_be_integer) for probe in _PROBES
    )
    if not first:
        raise UnsupportedModelError(
            f"{who} gives no state. What a model remembers of the text before must be in states that it gives back and "
            "takes again, or every token would be its first."
        )
    if not nesting == other == third:
        raise UnsupportedModelError(f"{who} gives {nesting} for one batch and {other} for another; give states alike.")
    parts, axes = [], []
    for (path, leaf), second, last in zip(_paths(states_at(*_PROBES[0])), wider, longer, strict=True):
        name = _name(path, names)
        axes.append(_batch_axis(name, leaf, second, last))
        dtype = str(leaf.dtype).removeprefix("torch.")
        shape = [size for axis, size in enumerate(leaf.shape) if axis != axes[-1]]
        parts.append(StatePart(name=name, shape=shape, dtype=dtype))  # type: ignore[arg-type]
    return StateLayout(tuple(parts), tuple(axes), nesting)


def _batch_axis(name: str, first: Tensor, wider: Tensor, longer: Tensor) -> int:
    if longer.shape != wider.shape:
        raise UnsupportedModelError(
            f"State {name} has shape {list(wider.shape)} after {_PROBES[1][1]} tokens and {list(longer.shape)} after "
            f"{_PROBES[2][1]}: it grows with the text. A state's shape must depend on the batch alone; keep a memory "
            "of fixed size, such as the recurrent layer's last state."
        )
    axes = [axis for axis, size in enumerate(first.shape) if size == 2 and wider.shape[axis] == 3]
    differing = [axis for axis, size in enumerate(first.shape) if size != wider.shape[axis]]
    if len(axes) != 1 or differing != axes:
        raise UnsupportedModelError(
            f"State {name} has shape {list(first.shape)} for a batch of 2 and {list(wider.shape)} for a batch of 3, so "
            "it holds nothing for each row. Every state has one axis of the batch's size; what is the same for all "
            "rows belongs to the module."
        )
    if 0 in first.shape:
        raise UnsupportedModelError(f"State {name} has shape {list(first.shape)}, which holds no number; leave it out.")
    return axes[0]


def _leaves(
    states: Any, *, may_be_precise: bool = False, may_be_integer: bool = False
) -> tuple[list[Tensor], TreeSpec]:
    allowed = (torch.float32, *((torch.float64,) if may_be_precise else ()), *(_INTEGERS if may_be_integer else ()))
    leaves, nesting = tree_flatten_with_path(states)
    for path, leaf in leaves:
        if isinstance(leaf, PackedSequence) or not isinstance(leaf, Tensor):
            raise UnsupportedModelError(
                f"State {keystr(path)} is {type(leaf).__name__}; states are float32 tensors, in tuples, lists or dicts."
            )
        if leaf.dtype not in allowed:
            dtype = str(leaf.dtype).removeprefix("torch.")
            raise UnsupportedModelError(
                f"State {keystr(path)} is {dtype}; the state row is float32. Keep it as float32 (a counter too)."
            )
    return [leaf for _, leaf in leaves], nesting


def _paths(states: Any) -> list[tuple[Any, Tensor]]:
    return list(tree_flatten_with_path(states)[0])


def _name(path: Any, names: Sequence[str]) -> str:
    """`h`, or `state.1` for what is nested."""
    index, *inner = ("".join(character for character in keystr((key,)) if character not in "[]'\".") for key in path)
    own = names[int(index)] if int(index) < len(names) else f"state{index}"
    return ".".join([own, *inner])
