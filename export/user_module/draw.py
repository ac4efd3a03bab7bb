"""Random inputs for a user's module: sizes of the dynamic axes, ragged lengths, ids that its embeddings know."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from export.user_module.inputs import DTYPES, InputSpec, ValueRange
from models.errors import ExportError

Sizes = dict[str, int]  # of each dynamic axis

# What the first axis (most often the batch), and every other one, is while a graph is checked. 1 is among them because
# code may treat it otherwise; the example that is traced is never among them.
_FIRST_SIZES = (1, 2, 5, 1, 4, 17, 3, 2)
_OTHER_SIZES = (1, 9, 2, 6, 13, 3, 40, 23)
# Examples to trace: unlike each other, so that equal sizes are never mistaken for the same axis; larger ones for
# modules that cannot take small inputs.
_EXAMPLES = ((3, 7, 5, 11, 13), (3, 23, 19, 29, 31), (3, 67, 61, 71, 73), (3, 251, 241, 257, 263))
INTEGERS_WITHOUT_EMBEDDING = 10


@dataclass(frozen=True)
class Drawing:
    """How inputs of one module are drawn.

    Attributes:
        inputs: what the module takes.
        ranges: name of an input or of an axis -> its range.
        num_ids: integers are drawn from 0 to below this.
        is_sorted: whether lengths go from long to short, as enforce_sorted=True wants them.
    """

    inputs: tuple[InputSpec, ...]
    ranges: Mapping[str, ValueRange] = field(default_factory=dict)
    num_ids: int = INTEGERS_WITHOUT_EMBEDDING
    is_sorted: bool = False

    @property
    def axes(self) -> list[str]:
        """Names of the dynamic axes in order of appearance."""
        return list(dict.fromkeys(axis for spec in self.inputs for axis in spec.dynamic_axes.values()))

    def example_sizes(self) -> Iterator[Sizes]:
        """Sizes to trace with, small ones first."""
        for example in _EXAMPLES:
            yield self._sizes([example[min(index, 4)] + 2 * max(index - 4, 0) for index in range(len(self.axes))])

    def checked_sizes(self, example: Sizes) -> list[Sizes]:
        """Sizes that a graph is checked with: 1 and small ones, without the traced example's."""
        found = []
        for turn in range(len(_FIRST_SIZES)):
            numbers = [
                _FIRST_SIZES[turn] if index == 0 else _OTHER_SIZES[(turn + 3 * (index - 1)) % len(_OTHER_SIZES)]
                for index in range(len(self.axes))
            ]
            sizes = self._sizes(numbers)
            if sizes not in found and (sizes != example or not sizes):
                found.append(sizes)
        return found

    def small_sizes(self) -> Sizes:
        """Small sizes above 1, as far as ranges allow."""
        return self._sizes([(3, 7, 5, 11, 13)[min(index, 4)] for index in range(len(self.axes))])

    def num_elements(self, sizes: Sizes) -> int:
        """Of all inputs together."""
        return sum(
            math.prod(sizes[axis] if isinstance(axis, str) else axis for axis in spec.axes) for spec in self.inputs
        )

    def is_allowed(self, axis: str, size: int) -> bool:
        """Whether an axis may have this size."""
        return axis not in self.ranges or self.ranges[axis].low <= size <= float(self.ranges[axis].high)

    def draw(self, sizes: Sizes, generator: torch.Generator, *, is_full: bool = False) -> dict[str, Tensor]:
        """Random values for every input.

        Args:
            sizes: of every dynamic axis.
            generator: the source of randomness.
            is_full: let every row be as long as it can be.

        Returns:
            Name -> tensor of the input's dtype, axes as its spec has them.
        """
        return {spec.name: self._values(spec, sizes, generator, is_full=is_full) for spec in self.inputs}

    def has_lengths(self) -> bool:
        """Whether any input holds lengths."""
        return any(spec.is_lengths or self._is_up_to_axis(spec) for spec in self.inputs)

    def _sizes(self, numbers: Sequence[int]) -> Sizes:
        sizes = {}
        for axis, number in zip(self.axes, numbers, strict=True):
            size = number
            if axis in self.ranges:
                low, high = int(self.ranges[axis].low), int(self.ranges[axis].high)
                if not low <= size <= high:
                    size = low + size % (high - low + 1)
            sizes[axis] = size
        return sizes

    def _values(self, spec: InputSpec, sizes: Sizes, generator: torch.Generator, *, is_full: bool) -> Tensor:
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in spec.axes]
        value_range = self.ranges.get(spec.name)
        if value_range is None and spec.is_lengths:
            longest = self._time(spec)
            value_range = ValueRange(1, longest)
        if spec.dtype == "bool":
            return torch.rand(shape, generator=generator) < 0.5
        if spec.dtype == "float32":
            if value_range is None:
                return torch.randn(shape, generator=generator)
            low, high = value_range.low, float(value_range.high)
            return low + (high - low) * torch.rand(shape, generator=generator)
        low, high = (0, self.num_ids - 1) if value_range is None else self._integers(value_range, sizes)
        values = torch.randint(int(low), int(high) + 1, shape, generator=generator, dtype=DTYPES[spec.dtype])
        if spec.is_lengths or self._is_up_to_axis(spec):
            values = self._with_longest(values, int(high), generator, is_full=is_full)
        return values

    def _with_longest(self, lengths: Tensor, longest: int, generator: torch.Generator, *, is_full: bool) -> Tensor:
        flat = lengths.flatten()
        if flat.numel():
            flat[int(torch.randint(flat.numel(), (), generator=generator))] = longest
        if is_full:
            flat.fill_(longest)
        if self.is_sorted:
            flat = flat.sort(descending=True).values
        return flat.reshape(lengths.shape)

    def _integers(self, value_range: ValueRange, sizes: Sizes) -> tuple[int, int]:
        high = value_range.high
        if isinstance(high, str):
            high = sizes[high] if high in sizes else int(high)
        return int(value_range.low), max(int(high), int(value_range.low))

    def _is_up_to_axis(self, spec: InputSpec) -> bool:
        return spec.name in self.ranges and isinstance(self.ranges[spec.name].high, str)

    def _time(self, lengths: InputSpec) -> str | float:
        """The axis that lengths count along: `time` if there is one, else the first beyond lengths' own."""
        if "time" in self.axes:
            return "time"
        for spec in self.inputs:
            if len(spec.axes) > len(lengths.axes) and set(lengths.axes) <= set(spec.axes):
                return next(axis for axis in spec.axes if axis not in lengths.axes)
        raise ExportError(
            f"Input {lengths.name} holds the lengths of rows, but no other input has its axes and one more, so the "
            f"longest is not known. Say it: --range {lengths.name}:1..AXIS or --range {lengths.name}:1..20"
        )


def new_drawing(module: nn.Module, inputs: Sequence[InputSpec], ranges: Mapping[str, ValueRange] | None) -> Drawing:
    """How a module's inputs are drawn; integers stay below the smallest nn.Embedding.

    Raises:
        ExportError: two inputs share a name, or a range does not fit what it is for.
    """
    names = [spec.name for spec in inputs]
    if not inputs:
        raise ExportError("No input was given. Give each argument of forward: --input 'ids:int64[batch,time]'")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ExportError(f"Input {twice[0]} is given twice. Give each argument of forward once, in its order.")
    sizes = [part.num_embeddings for part in module.modules() if isinstance(part, nn.Embedding)]
    drawing = Drawing(tuple(inputs), dict(ranges or {}), min(sizes, default=INTEGERS_WITHOUT_EMBEDDING))
    for name, value_range in drawing.ranges.items():
        _check_range(name, value_range, drawing)
    return drawing


def _check_range(name: str, value_range: ValueRange, drawing: Drawing) -> None:
    specs = {spec.name: spec for spec in drawing.inputs}
    known = ", ".join([*specs, *drawing.axes])
    if name not in specs and name not in drawing.axes:
        raise ExportError(f"Range of {name}: there is no such input or dynamic axis. There are: {known}.")
    if name in specs and name in drawing.axes:
        raise ExportError(f"Range of {name}: an input and an axis have this name. Call one of them otherwise.")
    ends = [value_range.low, value_range.high]
    is_float = name in specs and specs[name].dtype == "float32"
    if isinstance(value_range.high, str) and (name not in specs or is_float or value_range.high not in drawing.axes):
        raise ExportError(
            f"Range of {name} ends at {value_range.high!r}. It may end at a number; that of an integer input also at "
            f"a dynamic axis: {', '.join(drawing.axes) or 'there is none'}."
        )
    if not is_float and any(isinstance(end, float) and not end.is_integer() for end in ends):
        raise ExportError(
            f"Range of {name} is {value_range.low:g}..{value_range.high}; its ends must be whole numbers."
        )
    if name in drawing.axes and value_range.low < 1:
        raise ExportError(f"Range of axis {name} begins at {value_range.low:g}; an axis has at least 1.")
