"""The classifier's configuration: embedding, stack, pooling. Knows shapes and ranges; knows nothing of torch."""

from typing import Annotated, Literal

from pydantic import Field

from models.config import CellKind, FrozenModel, Probability, RecurrentConfig, Size

PoolingKind = Literal["last", "mean", "max", "attention"]


class ClassifierConfig(FrozenModel):
    """Embedding, recurrent stack in one direction or two, pooling over time, linear head over the classes."""

    architecture: Literal["classifier"] = "classifier"
    vocab_size: Size
    embedding_size: Size
    kind: CellKind
    hidden_size: Size  # per direction
    num_layers: Annotated[int, Field(ge=1, le=64)]
    bidirectional: bool = True
    pooling: PoolingKind = "mean"  # last: each direction's final state; attention: learnt weights (Yang et al. 2016)
    num_classes: Annotated[int, Field(ge=2, le=10_000)]
    dropout: Probability = 0.0  # on embeddings, between layers and before the head, in training only

    @property
    def task(self) -> Literal["sentiment"]:
        """The task that this architecture serves."""
        return "sentiment"

    @property
    def recurrent(self) -> RecurrentConfig:
        """The stack inside."""
        return RecurrentConfig(
            kind=self.kind,
            input_size=self.embedding_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
        )

    @property
    def state_size(self) -> int:
        """D: no state outlives a call."""
        return 0
