"""What a task is to a run: a stage that has data, is measured and published."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

from models.architecture import ArchitectureConfig
from models.bundle import Bundle, Languages
from models.tokenizer import Tokenizer
from models.word_ids import WordsRecord
from training.card import CardParts
from training.data.usage import ALL_USED, Usage
from training.stage import R, Stage


class Corpus(Protocol):
    """The data as read."""

    @property
    def sha256(self) -> str:
        """Of the raw bytes that were read."""


@dataclass(frozen=True)
class Measured:
    """The published weights as measured."""

    metrics: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)  # plain data behind them: signatures, counts, examples


C = TypeVar("C", bound=Corpus)


class Task(Stage[R], Generic[R, C]):
    """One task's part in a run: `read` before anything is written, the rest after the seeds are set.

    Attributes:
        tokenizer: trained on the training part; None of a task that reads no text.
        sizes: counts of what was read, for provenance.
        usage: what of the data is not used, by reason, and the classes: printed before training starts.
        languages: of a translator.
        labels: of a classifier or tagger, by class.
        words: of a tagger, how text becomes words.
    """

    tokenizer: Tokenizer | None
    sizes: dict[str, int]
    usage: Usage = ALL_USED
    languages: Languages | None = None
    labels: list[str] | None = None
    words: WordsRecord | None = None

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
    def prepared(cls, recipe: R, corpus: C, start: Bundle | None = None) -> Self:
        """Tokenizer, batches and first weights, from the generators as they stand.

        Args:
            recipe: what to do.
            corpus: what `read` gave.
            start: the bundle of a warm start: its tokenizer is taken; its weights come later.

        Raises:
            DataError: the data is not enough for the recipe.
            ConfigError: two keys of the recipe do not go together.
        """

    def pretraining(self) -> Stage[Any] | None:
        """What is trained before the task itself, if anything; `start_from` takes what it has learnt."""
        return None

    def start_from(self, stage: Stage[Any]) -> None:
        """Begin from the weights of the stage that `pretraining` gave; a task that gives none is never asked."""
        raise NotImplementedError(f"{type(self).__name__} gives no stage to start from")

    @abstractmethod
    def measure(self) -> Measured:
        """The figures to publish: `module.model` has the published weights, on the CPU, in evaluation mode."""

    @property
    @abstractmethod
    def config(self) -> ArchitectureConfig:
        """The network's architecture, with what the data has decided."""

    @property
    @abstractmethod
    def data(self) -> dict[str, Any]:
        """Where the data comes from, plain, for provenance: at least title, upstream, licence, name and sha256."""

    @abstractmethod
    def card_parts(self, measured: Measured) -> CardParts:
        """What the card says that only this task knows."""
