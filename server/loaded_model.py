"""Models that are ready to run, one class for each task, as a loader hands them to the app."""

from dataclasses import dataclass
from typing import ClassVar

from export.backends.runner import AttentionStepRunner, SequenceRunner, StepRunner
from models.architecture import Task
from models.bundle import Languages
from models.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """What models of all tasks have.

    Attributes:
        name: the folder's name in the store.
        version: the version in that folder.
        tokenizer: text to ids and back.
        precision: the graph set that runs.
        backend: what runs it.
        metrics: as measured after training.
        bundle_sha256: the bundle's record's, which identifies it.
        sequences: runs the graphs that take whole sequences.
    """

    task: ClassVar[Task]

    name: str
    version: int
    tokenizer: Tokenizer
    precision: str
    backend: str
    metrics: dict[str, float]
    bundle_sha256: str
    sequences: SequenceRunner

    @property
    def id(self) -> str:
        """What answers call the model: name/version."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, kw_only=True)
class GenerationModel(LoadedModel):
    """A language model; `sequences` runs `advance`.

    Attributes:
        state_width: D.
        steps: holds the live states; its capacity is at least twice the rows stepped together.
    """

    task: ClassVar[Task] = "generation"

    state_width: int
    steps: StepRunner


@dataclass(frozen=True, kw_only=True)
class TranslationModel(LoadedModel):
    """A translator; `sequences` runs `encode`.

    Attributes:
        languages: what it translates from and to.
        end_id: the end token's id.
        steps: holds the live states; its capacity is at least twice the rows stepped together.
    """

    task: ClassVar[Task] = "translation"

    languages: Languages
    end_id: int
    steps: AttentionStepRunner


@dataclass(frozen=True, kw_only=True)
class SentimentModel(LoadedModel):
    """A classifier; `sequences` runs `classify`.

    Attributes:
        labels: by class.
    """

    task: ClassVar[Task] = "sentiment"

    labels: list[str]
