"""What is trained: batches, a network with its loss, and a measure of how good it is.

The trainer and the report serve any stage through this interface. Knows nothing of files, devices or when to stop.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from torch import nn

from training.recipe import Recipe
from training.shard import Shard

R = TypeVar("R", bound=Recipe)


class Batch(Protocol):
    """A named tuple of tensors and numbers, which Fabric moves to the device."""

    @property
    def position(self) -> int:
        """Its position in the epoch, counted from 0."""

    @property
    def num_targets(self) -> int:
        """How many targets its mean loss is over."""

    def shard(self, shard: Shard) -> Self:
        """The rows of one process; the rows of all processes are the batch.

        A process for which no target is left gets a row with a stand-in target, and num_targets 0: it runs the network
        as the others do, and its gradient has the weight 0.
        """


class Batches(Protocol):
    """The batches of every epoch. Their content depends on epoch and position alone, not on what was read before."""

    def num_batches(self, epoch: int) -> int:
        """Batches in an epoch, counted from 0."""

    def starting_at(self, epoch: int, position: int) -> Iterator[Batch]:
        """An epoch's batches from a position to its end."""


@dataclass(frozen=True)
class Validation:
    """The validation part as measured after an epoch."""

    figures: dict[str, float]  # by the name under which the log has them; validation_<loss>_per_<unit> is among them
    rank: tuple[float, ...]  # the epoch with the smallest is the best


class TrainingModule(nn.Module):
    """A network with its loss: what Fabric wraps for device, precision and gradient reduction.

    A task's module adds `forward(batch, state) -> (loss, new_state)`. batch is on the module's device; state, float32
    [lanes, D], is what the call before it returned, None at the first batch of an epoch. loss is the mean over the
    batch's targets; new_state is detached, None for a task that carries no state.

    Args:
        model: the network.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class Stage(ABC, Generic[R]):
    """What the trainer trains.

    Attributes:
        unit: what a target is, "token" or "text"; losses are per unit.
        loss: what they are in.
        recipe: what to do.
        batches: of the training part.
        module: the network and its loss, freshly initialised.
    """

    unit: ClassVar[str]
    loss: ClassVar[str] = "nats"
    recipe: R
    batches: Batches
    module: TrainingModule

    def start_epoch(self, epoch: int) -> None:
        """An epoch, counted from 0, begins or is resumed. Nothing by default."""

    @abstractmethod
    def validate(self, shard: Shard) -> Validation:
        """Measure `module.model` on the validation part; leaves its mode and all generators as they were.

        Args:
            shard: which part of it this process reads; the figures are those of the whole, on every process.
        """
