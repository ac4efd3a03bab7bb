"""What a rewritten loop calls while it is traced: whether it is over a free axis, its frames, its scan, its lists."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from export.user_module.source import users_place
from models.errors import UnsupportedModelError
from models.network.scan import over_time

Size = int | torch.SymInt


@dataclass
class Loop:
    """A loop over a free axis.

    Attributes:
        count: how many steps it has.
        start: the first position, where it has one; of positions in falling order the last.
        is_flipped: from the last position to the first.
    """

    count: Any
    start: Any = 0
    is_flipped: bool = False


class TimeList:
    """What a loop over a free axis put into a list: the elements as one tensor, time first.

    Args:
        values: [count, ...]; None for a list `[None] * T` that nothing has been put into.
        before: elements that stand before them.
        after: elements that stand after them.
    """

    def __init__(self, values: Any, before: Sequence[Tensor] = (), after: Sequence[Tensor] = ()) -> None:
        self.values = values
        self.before = list(before)
        self.after = list(after)

    def tensor(self) -> Tensor:
        """All elements, [count, ...]."""
        if not isinstance(self.values, Tensor):
            _refuse("a list of tuples, or one that nothing was put into,", "Put one tensor into each list.")
        around = [torch.stack(part) if part else None for part in (self.before, self.after)]
        parts = [part for part in (around[0], self.values, around[1]) if part is not None]
        return torch.cat(parts) if len(parts) > 1 else self.values

    def flipped(self) -> "TimeList":
        """From the last to the first."""
        return TimeList(self.tensor().flip(0))

    def reverse(self) -> None:
        """As list.reverse."""
        self.values, self.before, self.after = self.tensor().flip(0), [], []

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice) and index.step == -1 and index.start is None and index.stop is None:
            return self.flipped()
        return TimeList(self.tensor()[index]) if isinstance(index, slice) else self.tensor()[index]

    def __reversed__(self) -> "TimeList":
        return self.flipped()

    def __getattr__(self, name: str) -> NoReturn:
        _refuse(f"{name} of a list of the time axis", "torch.stack(the_list, dim=1) first.")

    def __iter__(self) -> NoReturn:
        _refuse("each element of a list of the time axis", "torch.stack(the_list, dim=1) first.")

    def __len__(self) -> NoReturn:
        _refuse("the number of elements of a list of the time axis", "x.size(1) instead.")


def _refuse(what: str, instead: str) -> NoReturn:
    raise UnsupportedModelError(f"The forward reads {what}{users_place()}, whose length is free. Write {instead}")


class Tracing:
    """The functions that rewritten code calls; one for each trace.

    Attributes:
        counts: of the loops over free axes that were traced.
    """

    def __init__(self) -> None:
        self.counts: list[torch.SymInt] = []

    def over_range(self, start: Size, stop: Size, step: Size, is_flipped: bool) -> Loop | None:
        """The loop over a range; None where its length is a number, and the loop is an ordinary one."""
        if not any(isinstance(size, torch.SymInt) for size in (start, stop)):
            return None
        if step not in (1, -1):
            raise UnsupportedModelError(
                f"A loop over time takes steps of {step}{users_place()}; a graph's loop takes each frame. Slice "
                f"before it: x = x[:, ::{step}]"
            )
        low, high = (start, stop) if step == 1 else (stop + 1, start + 1)
        loop = Loop(high - low, low, (step == -1) != is_flipped)
        self._note(loop.count)
        return loop

    def over(self, *iterables: tuple[Any, int]) -> Loop | None:
        """The loop over tensors along an axis each; None where none is of free size."""
        sizes = [self._size(value, axis) for value, axis in iterables]
        free = [size for size in sizes if isinstance(size, torch.SymInt)]
        if not free:
            return None
        if any(size is None for size in sizes):
            raise UnsupportedModelError(
                f"A loop goes over time and over something that is no tensor together{users_place()}; index the "
                "tensor in a loop over the other, or stack the other."
            )
        self._note(free[0])
        return Loop(free[0])

    def _size(self, value: Any, axis: int) -> Any:
        if isinstance(value, TimeList):
            value = value.tensor()
        return value.shape[axis] if isinstance(value, Tensor) and value.dim() > 0 else None

    def _note(self, count: Any) -> None:
        if isinstance(count, torch.SymInt):
            self.counts.append(count)

    def frames(self, loop: Loop, value: Any, axis: int, is_flipped: bool = False) -> Tensor:
        """Of a tensor what the steps of a loop take, time first, in the order of the steps."""
        tensor = value.tensor() if isinstance(value, TimeList) else value
        if not isinstance(tensor, Tensor):
            raise UnsupportedModelError(
                f"A loop over time reads {type(value).__name__} at each step{users_place()}; it must be a tensor: "
                "torch.stack(the_list, dim=1) before the loop."
            )
        tensor = tensor.movedim(axis, 0)
        if not _is_zero(loop.start) or not _is_same(tensor.shape[0], loop.count):
            tensor = tensor.narrow(0, loop.start, loop.count)
        return tensor.flip(0) if loop.is_flipped != is_flipped else tensor

    def own(self, value: Any) -> Any:
        """What a step may change in place: copies of tensors in new lists and dicts."""
        return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, value)

    def run(
        self,
        loop: Loop,
        step: Callable[..., Any],
        frames: tuple[Any, ...],
        states: tuple[Any, ...],
        names: Sequence[str],
        refusals: Sequence[str],
    ) -> tuple[Any, tuple[Any, ...]]:
        """What the steps emit, each with time first, and the states after the last one.

        Args:
            loop: it.
            step: (frames, *states) -> (emitted, *states).
            frames: time first, from `frames`.
            states: before the first step.
            names: of the states.
            refusals: for each, what to say where it does not begin as a tensor.
        """
        for name, state, refusal in zip(names, states, refusals, strict=True):
            wrong = [
                leaf for leaf in tree_leaves(state, is_leaf=lambda leaf: leaf is None) if not isinstance(leaf, Tensor)
            ]
            if wrong or not tree_leaves(state):
                is_number = bool(wrong) and isinstance(wrong[0], int | float)
                instead = f"torch.tensor({wrong[0]!r})" if is_number else "torch.zeros(batch, width)"
                found = repr(wrong[0])[:60] if wrong else "empty"
                text = refusal.replace("@name", name).replace("@found", found)
                raise UnsupportedModelError(text.replace("@instead", instead))
        some: Any = frames or (torch.arange(loop.count),)
        before = states or (torch.zeros(1),)
        # A loop from 1 has no step where there is one frame, and a Scan has at least one: one more, which is masked.
        is_padded = not loop.count.node.expr.is_symbol
        is_valid = None
        if is_padded:
            some = tuple(torch.cat([frame, frame.new_zeros(1, *frame.shape[1:])]) for frame in some)
            is_valid = torch.cat([torch.ones(loop.count, dtype=torch.bool), torch.zeros(1, dtype=torch.bool)])
            is_valid = is_valid.unsqueeze(1)

        def stepped(frame: Any, *own: Any) -> Any:
            return step(frame, *own) if states else (step(frame)[0], *own)

        try:
            emitted, after = over_time(stepped, some, before, is_valid)
        except ValueError as error:
            raise UnsupportedModelError(f"{_named(str(error), names)}{users_place()}") from error
        if is_padded:
            emitted = tree_map(lambda leaf: leaf[:-1], emitted)
        return emitted, tuple(after) if states else ()

    def collected(self, before: Any, values: Any, *, is_front: bool) -> TimeList:
        """A list after a loop in which each step put one element at its end, or at its front."""
        own = list(before) if isinstance(before, list) else before
        if not isinstance(own, list):
            _refuse("a list that several loops put something into, which", "Use a list for each loop.")
        return TimeList(TimeList(values).tensor().flip(0), after=own) if is_front else TimeList(values, own)

    def written(self, loop: Loop, before: Any, values: Tensor, axis: int, is_flipped: bool) -> Any:
        """A tensor, or a list, after a loop in which each step set its part of it."""
        values = values.flip(0) if loop.is_flipped != is_flipped else values
        if isinstance(before, TimeList):
            return TimeList(values)
        size = before.shape[axis]
        values = values.to(before.dtype).movedim(0, axis)
        if _is_zero(loop.start) and _is_same(size, loop.count):
            return values.expand(before.shape)
        own = before.narrow(axis, loop.start, loop.count)
        return before.slice_scatter(values.expand(own.shape), axis, loop.start, loop.start + loop.count)

    def last(self, values: Any) -> Any:
        """Of what every step sets, what the last one set."""
        return tree_map(lambda leaf: leaf[-1], values)

    def joined(self, function: Callable[..., Any], values: Any, *rest: Any, **options: Any) -> Any:
        """torch.stack or torch.cat of a list, or what else is called so."""
        if not isinstance(values, TimeList):
            return function(values, *rest, **options)
        tensor = values.tensor()
        axis = rest[0] if rest else options.get("dim", options.get("axis", 0))
        if function is torch.stack:
            return tensor.movedim(0, axis if axis >= 0 else axis + tensor.dim())
        if function in (torch.cat, torch.concat, torch.concatenate):
            axis = axis if axis >= 0 else axis + tensor.dim() - 1
            return tensor.movedim(0, axis).flatten(axis, axis + 1)
        return function(values, *rest, **options)

    def listed(self, function: Callable[..., Any], values: Any) -> Any:
        """list, tuple or reversed of something."""
        if isinstance(values, TimeList):
            return values.flipped() if function is reversed else values
        return function(values)

    def length(self, value: Any) -> Any:
        """As len, but the size of a tensor stays free."""
        if isinstance(value, Tensor):
            return value.shape[0]
        return value.tensor().shape[0] if isinstance(value, TimeList) else len(value)

    def times(self, value: Any, number: Any) -> Any:
        """`[None] * T`, where T may be free."""
        is_list = isinstance(value, list) and len(value) == 1
        return TimeList(None) if is_list and isinstance(number, torch.SymInt) else value * number

    def refuse(self, message: str) -> NoReturn:
        """Refuse a loop over a free axis."""
        raise UnsupportedModelError(message)


def _is_zero(size: Any) -> bool:
    return isinstance(size, int) and size == 0


def _is_same(size: Any, count: Any) -> bool:
    """Whether two sizes are one symbol, without asking, because the answer would become part of the trace."""
    if not (isinstance(size, torch.SymInt) and isinstance(count, torch.SymInt)):
        return False
    return bool(size.node.expr == count.node.expr)


def _named(message: str, names: Sequence[str]) -> str:
    """A message of scan with the states called as the user calls them."""
    for index, name in enumerate(names):
        message = message.replace(f"State [{index}]", name)
    return re.sub(r"\b[su]\d+\b", "*", message)  # a free size, as PyTorch calls it
