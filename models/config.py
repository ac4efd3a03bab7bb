"""Frozen, checked configurations of the architectures. Knows shapes and ranges; knows nothing of torch or files."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.errors import ConfigError

CellKind = Literal["rnn-tanh", "rnn-relu", "lstm", "gru"]
CELL_KINDS: tuple[CellKind, ...] = ("rnn-tanh", "rnn-relu", "lstm", "gru")
NUM_GATES: dict[CellKind, int] = {"rnn-tanh": 1, "rnn-relu": 1, "lstm": 4, "gru": 3}

Size = Annotated[int, Field(ge=1, le=1_000_000)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


class FrozenModel(BaseModel):
    """Base of every record: immutable, no unknown fields, no silent conversions, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Record = TypeVar("Record", bound=BaseModel)


def checked(kind: type[Record], data: Any, where: str) -> Record:
    """Build a record from plain data.

    Args:
        kind: the record's class.
        data: plain dicts, lists, strings and numbers, as JSON or YAML gives them.
        where: what the data is, for the message ("recipe lm.yaml").

    Raises:
        ConfigError: naming each field that is wrong, what it holds, and what is allowed.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        lines = []
        for item in error.errors(include_url=False):
            field = ".".join(str(part) for part in item["loc"]) or "the whole"
            found = "" if item["type"] == "missing" else f" (got {ascii(item['input'])[:80]})"
            lines.append(f"{field}: {item['msg']}{found}")
        allowed = ", ".join(kind.model_fields)
        raise ConfigError(f"{where}: {'; '.join(lines)}. Fields of {kind.__name__}: {allowed}.") from None


class RecurrentConfig(FrozenModel):
    """A stack of recurrent layers of one kind.

    The gate equations are those of PyTorch's nn.RNN, nn.LSTM (Hochreiter & Schmidhuber 1997, with forget gate)
    and nn.GRU (Cho et al. 2014, reset gate applied after the recurrent product).
    """

    kind: CellKind
    input_size: Size  # width of the input vectors
    hidden_size: Size  # width of one layer's hidden state, per direction
    num_layers: Annotated[int, Field(ge=1, le=64)]
    bidirectional: bool = False
    dropout: Probability = 0.0  # between layers, in training only

    @property
    def num_directions(self) -> int:
        """1, or 2 when bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def num_gates(self) -> int:
        """Gates per cell: RNN 1, GRU 3, LSTM 4."""
        return NUM_GATES[self.kind]

    @property
    def output_size(self) -> int:
        """Width of the outputs: hidden_size for each direction."""
        return self.hidden_size * self.num_directions

    @property
    def state_names(self) -> tuple[str, ...]:
        """The parts of the state: ("h",), and "c" after it for an LSTM."""
        return ("h", "c") if self.kind == "lstm" else ("h",)

    @property
    def state_size(self) -> int:
        """D: the length of the row that holds one sequence's whole memory."""
        return len(self.state_names) * self.num_layers * self.num_directions * self.hidden_size


class LanguageModelConfig(FrozenModel):
    """Embedding, forward recurrent stack, linear head over the vocabulary."""

    architecture: Literal["language-model"] = "language-model"
    vocab_size: Size
    embedding_size: Size
    kind: CellKind
    hidden_size: Size
    num_layers: Annotated[int, Field(ge=1, le=64)]
    dropout: Probability = 0.0  # on embeddings, between layers and before the head, in training only
    tied_embeddings: bool = False  # the head's weight is the embedding's (Press & Wolf 2017)

    @model_validator(mode="after")
    def _tied_sizes_agree(self) -> Self:
        if self.tied_embeddings and self.embedding_size != self.hidden_size:
            raise ValueError(
                f"tied_embeddings needs embedding_size = hidden_size; got {self.embedding_size} and {self.hidden_size}"
            )
        return self

    @property
    def task(self) -> Literal["generation"]:
        """The task that this architecture serves."""
        return "generation"

    @property
    def recurrent(self) -> RecurrentConfig:
        """The stack inside."""
        return RecurrentConfig(
            kind=self.kind,
            input_size=self.embedding_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            dropout=self.dropout,
        )

    @property
    def state_size(self) -> int:
        """D: the length of the state row."""
        return self.recurrent.state_size
