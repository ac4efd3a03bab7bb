"""What a task is to a run. Everything else here (run, trainer, keeper, card) serves any task through this interface."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from models.bundle import Languages
from models.tokenizer import Tokenizer
from training.card import CardParts
from training.module import TrainingModule
from training.recipe import Recipe


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


class Corpus(Protocol):
    """The data as read."""

    @property
    def sha256(self) -> str:
        """Of the raw bytes that were read."""


@dataclass(frozen=True)
class Validation:
    """The validation part as measured after an epoch."""

    figures: dict[str, float]  # by the name under which the log has them; validation_nats_per_<unit> is among them
    rank: tuple[float, ...]  # the epoch with the smallest is the best


@dataclass(frozen=True)
class Measured:
    """The published weights as measured."""

    metrics: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)  # plain data behind them: signatures, counts, examples


C = TypeVar("C", bound=Corpus)
R = TypeVar("R", bound=Recipe)


class Task(ABC, Generic[R, C]):
    """One task's part in a run: `read` before anything is written, the rest after the seeds are set.

    Attributes:
        unit: what a target is, "token" or "text"; losses are in nats per unit.
        recipe: what to do.
        tokenizer: trained on the training part.
        batches: of the training part.
        module: the network and its loss, freshly initialised.
        sizes: counts of what was read, for provenance.
        languages: of a translator.
        labels: of a classifier, by class.
    """

    unit: ClassVar[str]
    recipe: R
    tokenizer: Tokenizer
    batches: Batches
    module: TrainingModule
    sizes: dict[str, int]
    languages: Languages | None = None
    labels: list[str] | None = None

    @staticmethod
    @abstractmethod
    def read(recipe: R) -> C:
        """The data that the recipe names. Draws no random numbers.

        Raises:
            DataError: it is absent or malformed.
            ConfigError: the recipe asks of it what it cannot give.
        """

    @classmethod
    @abstractmethod
    def prepared(cls, recipe: R, corpus: C) -> Self:
        """Tokenizer, batches and first weights, from the generators as they stand.

        Raises:
            DataError: the data is not enough for the recipe.
            ConfigError: two keys of the recipe do not go together.
        """

    @abstractmethod
    def validate(self) -> Validation:
        """Measure `module.model` on the validation part; leaves its mode and all generators as they were."""

    @abstractmethod
    def measure(self) -> Measured:
        """The figures to publish: `module.model` has the published weights, on the CPU, in evaluation mode."""

    @property
    @abstractmethod
    def data(self) -> dict[str, Any]:
        """Where the data comes from, plain, for provenance: at least title, upstream, licence, name and sha256."""

    @abstractmethod
    def card_parts(self, measured: Measured) -> CardParts:
        """What the card says that only this task knows."""


def total_batches(batches: Batches, epochs: int) -> int:
    """Batches of so many epochs."""
    return sum(batches.num_batches(epoch) for epoch in range(epochs))
