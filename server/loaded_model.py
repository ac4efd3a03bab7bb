"""A model that is ready to run, as a loader hands it to the app."""

from dataclasses import dataclass

from export.backends.runner import SequenceRunner, StepRunner
from models.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A generation model: its tokenizer and its runners.

    Attributes:
        name: the folder's name in the store.
        version: the version in that folder.
        task: what it is for.
        tokenizer: text to ids and back.
        state_width: D.
        precision: the graph set that runs.
        backend: what runs it.
        metrics: as measured after training.
        steps: holds the live states; its capacity is at least twice the rows stepped together.
        sequences: runs `advance`.
    """

    name: str
    version: int
    task: str
    tokenizer: Tokenizer
    state_width: int
    precision: str
    backend: str
    metrics: dict[str, float]
    steps: StepRunner
    sequences: SequenceRunner

    @property
    def id(self) -> str:
        """What answers call the model: name/version."""
        return f"{self.name}/{self.version}"
