"""The configuration of a model whose code is a user's own: what its graphs take and give. Knows no layers.

The bundle holds the weights and the graphs, not the code; so other graph sets can be made of it only where the code is.
"""

from math import prod
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.config import FrozenModel, Size


class StatePart(FrozenModel):
    """One of the tensors that the module takes and gives as its state, without the batch axis."""

    name: str
    shape: list[Annotated[int, Field(ge=1)]]

    @property
    def size(self) -> int:
        """Numbers of the state row that it takes."""
        return prod(self.shape)


class WrappedConfig(FrozenModel):
    """A user's module behind the graphs of one task."""

    architecture: Literal["wrapped"] = "wrapped"
    task: Literal["generation", "translation", "sentiment"]
    vocab_size: Size
    state: list[StatePart]  # in the order of the state row
    memory_width: Size | None = None  # M, of a translator
    keys_width: Size | None = None  # A, of a translator
    start_id: int | None = None  # what a translator's decoder reads first, where that is not the end token
    num_classes: Annotated[int, Field(ge=2, le=10_000)] | None = None  # of a classifier

    @model_validator(mode="after")
    def _fields_fit_the_task(self) -> Self:
        has = {
            "state": bool(self.state),
            "memory_width": self.memory_width is not None,
            "keys_width": self.keys_width is not None,
            "num_classes": self.num_classes is not None,
        }
        wanted = {
            "generation": {"state"},
            "translation": {"state", "memory_width", "keys_width"},
            "sentiment": {"num_classes"},
        }[self.task]
        wrong = [field for field, is_there in has.items() if is_there != (field in wanted)]
        if wrong:
            raise ValueError(f"a wrapped model for {self.task} has {', '.join(sorted(wanted))}; wrong: {wrong}")
        return self

    @property
    def state_size(self) -> int:
        """D: the length of the state row."""
        return sum(part.size for part in self.state)
