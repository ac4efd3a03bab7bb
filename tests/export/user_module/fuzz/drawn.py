"""A module that was drawn: an input, stages over [batch, time, width], one over the row, heads.

A stage is a function of the forward's values and of the layers that it holds; what is wrong with a stage by design (a
branch that changes the answer at a size) is marked, because then a refusal is right.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

VOCABULARY = 50
WIDTH = 6  # of every stage's input and output


@dataclass
class Given:
    """What a forward has beside the values that go from stage to stage.

    Attributes:
        ids: int64 [batch, time], or None.
        lengths: int64 [batch], or None.
        fits: whether ids still have the time axis of the values.
    """

    ids: Tensor | None
    lengths: Tensor | None
    fits: bool = True

    def is_valid(self, x: Tensor) -> Tensor:
        """bool [batch, time of x]: which positions count."""
        if self.lengths is not None:
            return torch.arange(x.size(1)) < self.lengths.unsqueeze(1)
        if self.ids is not None and self.fits:
            return self.ids != 0
        return torch.ones(x.shape[:2], dtype=torch.bool)


@dataclass
class Stage:
    """One step of a forward.

    Attributes:
        name: for people.
        does: (layers, given, values) -> values.
        layers: that it holds.
        keeps_time: whether the result has the time axis of the input; else lengths and ids fit no longer.
        is_refused: whether a refusal is right.
    """

    name: str
    does: Callable[[nn.ModuleDict, Given, Tensor], Any]
    layers: dict[str, nn.Module] = field(default_factory=dict)
    keeps_time: bool = True
    is_refused: bool = False


class Drawn(nn.Module):
    """A drawn module.

    Args:
        source: of the inputs: "ids", "x", "wave" or "steps" ([time, batch, width]).
        has_lengths: whether lengths are an input.
        stages: in order.
    """

    def __init__(self, source: str, stages: Sequence[Stage], *, has_lengths: bool) -> None:
        super().__init__()
        self.source, self.has_lengths = source, has_lengths
        self._does = [stage.does for stage in stages]
        self._keep_time = [stage.keeps_time for stage in stages]
        self.noise = 0.0  # of each stage's values: relative, and a tenth of it absolute, as a gate's sigmoid has it
        self.stages = nn.ModuleList(nn.ModuleDict(stage.layers) for stage in stages)

    def forward(self, first: Tensor, lengths: Tensor | None = None) -> Any:
        given = Given(first if self.source == "ids" else None, lengths)
        values: Any = first.transpose(0, 1) if self.source == "steps" else first
        for layers, does, keeps_time in zip(self.stages, self._does, self._keep_time, strict=True):
            values = does(layers, given, values)  # type: ignore[arg-type]
            given.fits = given.fits and keeps_time
            if self.noise and isinstance(values, Tensor):
                values = values + self.noise * torch.randn_like(values) * (values.abs() + 0.1)
        return values


@dataclass(frozen=True)
class Case:
    """A drawn module and its inputs.

    Attributes:
        seed: that it was drawn from.
        source: see Drawn.
        stages: of it.
        has_lengths: see Drawn.
    """

    seed: int
    source: str
    stages: tuple[Stage, ...]
    has_lengths: bool

    @property
    def inputs(self) -> list[str]:
        """As `export module` takes them."""
        first = {
            "ids": "ids:int64[batch,time]",
            "x": f"x:float32[batch,time,{WIDTH}]",
            "wave": "wave:float32[batch,time]",
            "steps": f"x:float32[time,batch,{WIDTH}]",
        }[self.source]
        return [first, *(["lengths:int64[batch]"] if self.has_lengths else [])]

    @property
    def least_time(self) -> int:
        """The shortest input from which on the module takes every one."""
        module, refused = self.module(), 0
        for time in range(1, 40):
            shape = {"x": (2, time, WIDTH), "steps": (time, 2, WIDTH)}.get(self.source, (2, time))
            first = torch.ones(shape, dtype=torch.int64 if self.source == "ids" else torch.float32)
            try:
                with torch.no_grad():
                    module(first, *([torch.full((2,), time)] if self.has_lengths else []))
            except (RuntimeError, IndexError):
                refused = time
        return refused + 1

    @property
    def is_refused(self) -> bool:
        """Whether a refusal is right."""
        return any(stage.is_refused for stage in self.stages)

    def module(self) -> Drawn:
        """The module, its weights those of the drawing."""
        return Drawn(self.source, self.stages, has_lengths=self.has_lengths).eval()

    def __str__(self) -> str:
        lengths = ", lengths" if self.has_lengths else ""
        return f"seed {self.seed}: {self.source}{lengths}: {' -> '.join(stage.name for stage in self.stages)}"
