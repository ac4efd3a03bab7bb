"""What is trained: batches, a network with its loss, and a measure of how good it is.

The trainer, the keeper and the progress bar serve any stage through this interface.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, TypeVar

from training.module import TrainingModule
from training.recipe import Recipe

R = TypeVar("R", bound=Recipe)


class Batch(Protocol):
    """What one update reads: a named tuple of tensors and numbers, which Lightning moves to the device."""

    @property
    def position(self) -> int:
        """Its place in the epoch, counted from 0."""

    @property
    def num_targets(self) -> int:
        """How many targets its mean loss is over."""


class Batches(Protocol):
    """The batches of every epoch. What they hold depends on epoch and position alone, never on what was read before."""

    def num_batches(self, epoch: int) -> int:
        """Batches in an epoch, counted from 0."""

    def starting_at(self, epoch: int, position: int) -> Iterator[Batch]:
        """An epoch's batches from a position to its end."""


@dataclass(frozen=True)
class Validation:
    """The validation part as measured after an epoch."""

    figures: dict[str, float]  # by the name under which the log has them; validation_nats_per_<unit> is among them
    rank: tuple[float, ...]  # the epoch with the smallest is the best


class Stage(ABC, Generic[R]):
    """What the trainer trains.

    Attributes:
        unit: what a target is, "token" or "text"; losses are in nats per unit.
        recipe: what to do.
        batches: of the training part.
        module: the network and its loss, freshly initialised.
    """

    unit: ClassVar[str]
    recipe: R
    batches: Batches
    module: TrainingModule

    @abstractmethod
    def validate(self) -> Validation:
        """Measure `module.model` on the validation part; leaves its mode and all generators as they were."""


def total_batches(batches: Batches, epochs: int) -> int:
    """Batches of so many epochs."""
    return sum(batches.num_batches(epoch) for epoch in range(epochs))
