"""Frozen, checked configurations of the architectures, and the state row's layout. Knows no torch and no files.

The state row is one sequence's whole memory as one row of float32 numbers: all layers' h, then all layers' c for an
LSTM; within a layer, forward before backward. Backends and schedulers never look inside the row; the names and offsets
here are for people, for the bundle's record and for the graphs.
"""

from math import prod
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.cells import CellKind, cell_of
from models.errors import ConfigError

PoolingKind = Literal["last", "mean", "max", "attention"]
AttentionKind = Literal["additive", "multiplicative"]
BridgeKind = Literal["linear", "zero"]
MAX_IDS = 2**62  # that int64 holds with room to spare
Depth = Annotated[int, Field(ge=1, le=64)]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
Probability = Annotated[float, Field(ge=0.0, lt=1.0)]


class FrozenModel(BaseModel):
    """Base of every record: immutable, no unknown fields, no silent conversions, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Record = TypeVar("Record", bound=BaseModel)


def checked(kind: type[Record], data: Any, where: str, context: dict[str, Any] | None = None) -> Record:
    """Build a record from plain data.

    Args:
        kind: the record's class.
        data: plain dicts, lists, strings and numbers, as JSON or YAML gives them.
        where: what the data is, for the message ("recipe lm.yaml").
        context: for the record's validators.

    Raises:
        ConfigError: naming each field that is wrong, what it holds, and what is allowed.
    """
    try:
        return kind.model_validate(data, context=context)
    except ValidationError as error:
        lines = []
        for item in error.errors(include_url=False):
            field = ".".join(str(part) for part in item["loc"]) or "the whole"
            found = "" if item["type"] == "missing" else f" (got {ascii(item['input'])[:80]})"
            lines.append(f"{field}: {item['msg']}{found}")
        allowed = ", ".join(kind.model_fields)
        raise ConfigError(f"{where}: {'; '.join(lines)}. Fields of {kind.__name__}: {allowed}.") from None


class RowEntry(FrozenModel):
    """One named part of the row: numbers offset .. offset + size."""

    name: str
    offset: int
    size: int


class RecurrentConfig(FrozenModel):
    """A stack of recurrent layers of one kind.

    The gate equations are those of PyTorch's nn.RNN, nn.LSTM (Hochreiter & Schmidhuber 1997, with forget gate)
    and nn.GRU (Cho et al. 2014, reset gate applied after the recurrent product).
    """

    kind: CellKind
    input_size: Size  # width of the input vectors
    hidden_size: Size  # width of one layer's hidden state, per direction
    num_layers: Depth
    bidirectional: bool = False
    dropout: Probability = 0.0  # between layers, in training only

    @property
    def num_directions(self) -> int:
        """1, or 2 when bidirectional."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """Width of the outputs: hidden_size for each direction."""
        return self.hidden_size * self.num_directions

    @property
    def state_names(self) -> tuple[str, ...]:
        """The parts of the state: ("h",), and "c" after it for an LSTM."""
        return cell_of(self.kind).state

    @property
    def state_widths(self) -> tuple[int, ...]:
        """The width of each part, of one layer in one direction."""
        widths = cell_of(self.kind).widths
        return tuple(widths.get(part, self.hidden_size) for part in self.state_names)

    @property
    def state_size(self) -> int:
        """D: the length of the row that holds one sequence's whole memory."""
        return sum(self.state_widths) * self.num_layers * self.num_directions

    @property
    def row(self) -> tuple[RowEntry, ...]:
        """The parts of the state row, in order; their sizes add up to state_size."""
        entries: list[RowEntry] = []
        offset = 0
        for part, width in zip(self.state_names, self.state_widths, strict=True):
            for layer in range(self.num_layers):
                for direction in ("", ".backward")[: self.num_directions]:
                    entries.append(RowEntry(name=f"{part}{layer}{direction}", offset=offset, size=width))
                    offset += width
        return tuple(entries)


class LanguageModelConfig(FrozenModel):
    """Embedding, forward recurrent stack, linear head over the vocabulary."""

    architecture: Literal["language-model"] = "language-model"
    vocab_size: Size
    embedding_size: Size
    kind: CellKind
    hidden_size: Size
    num_layers: Depth
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

    @property
    def row(self) -> tuple[RowEntry, ...]:
        """The parts of the state row."""
        return self.recurrent.row


class TranslatorConfig(FrozenModel):
    """Recurrent encoder, recurrent decoder with global attention (Bahdanau et al. 2015; Luong et al. 2015, 3.1).

    Source and target share one vocabulary. A source is its tokens and <eos>; the decoder starts from <eos> and ends
    with it.
    """

    architecture: Literal["translator"] = "translator"
    vocab_size: Size  # of both languages together
    embedding_size: Size
    kind: CellKind  # of encoder and decoder
    encoder_size: Size  # hidden size of the encoder, per direction
    encoder_layers: Depth
    bidirectional: bool = True  # the encoder; the decoder never is
    hidden_size: Size  # of the decoder
    num_layers: Depth  # of the decoder
    attention: AttentionKind = "multiplicative"
    attention_size: Size | None = None  # A of additive attention; multiplicative attention's is hidden_size
    input_feeding: bool = False  # the attentional vector enters the next step (Luong et al. 2015, section 3.3)
    bridge: BridgeKind = "linear"  # the decoder's first state: made from the encoder's last, or zeros
    dropout: Probability = 0.0  # on embeddings, between layers and before the head, in training only
    shared_embeddings: bool = True  # source and target share one embedding
    tied_embeddings: bool = True  # the head's weight is the target embedding's (Press & Wolf 2017)

    @model_validator(mode="after")
    def _attention_size_fits(self) -> Self:
        if self.attention == "additive" and self.attention_size is None:
            raise ValueError("additive attention needs attention_size, such as 256")
        if self.attention == "multiplicative" and self.attention_size not in (None, self.hidden_size):
            raise ValueError(
                f"multiplicative attention compares with the decoder's hidden state, so attention_size is "
                f"{self.hidden_size}; leave it out (got {self.attention_size})"
            )
        return self

    @property
    def task(self) -> Literal["translation"]:
        """The task that this architecture serves."""
        return "translation"

    @property
    def encoder(self) -> RecurrentConfig:
        """The encoder's stack."""
        return RecurrentConfig(
            kind=self.kind,
            input_size=self.embedding_size,
            hidden_size=self.encoder_size,
            num_layers=self.encoder_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
        )

    @property
    def decoder(self) -> RecurrentConfig:
        """The decoder's stack."""
        return RecurrentConfig(
            kind=self.kind,
            input_size=self.embedding_size + (self.output_size if self.input_feeding else 0),
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            dropout=self.dropout,
        )

    @property
    def memory_width(self) -> int:
        """M: the width of the encoder's outputs."""
        return self.encoder.output_size

    @property
    def keys_width(self) -> int:
        """A: the width of what the attention compares with."""
        return self.hidden_size if self.attention_size is None else self.attention_size

    @property
    def output_size(self) -> int:
        """The width of the attentional vector, from which the head reads."""
        return self.embedding_size if self.tied_embeddings else self.hidden_size

    @property
    def state_size(self) -> int:
        """D: the decoder's states, and with input feeding the attentional vector after them."""
        return self.decoder.state_size + (self.output_size if self.input_feeding else 0)

    @property
    def row(self) -> tuple[RowEntry, ...]:
        """The parts of the state row."""
        if not self.input_feeding:
            return self.decoder.row
        return (*self.decoder.row, RowEntry(name="feed", offset=self.decoder.state_size, size=self.output_size))


class ClassifierConfig(FrozenModel):
    """Embedding, recurrent stack in one direction or two, pooling over time, linear head over the classes."""

    architecture: Literal["classifier"] = "classifier"
    vocab_size: Size
    embedding_size: Size
    kind: CellKind
    hidden_size: Size  # per direction
    num_layers: Depth
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

    @property
    def row(self) -> tuple[RowEntry, ...]:
        """No state row."""
        return ()


class FieldConfig(FrozenModel):
    """One field of a token beside the token itself, such as its last letters (models.words)."""

    size: Annotated[int, Field(ge=2, le=1_000_000)]  # numbers that it may have, 0 for what is not known
    width: Size  # of its vectors


class TaggerConfig(FrozenModel):
    """Embedding of each token's fields, recurrent stack in one direction or two, linear head at every token."""

    architecture: Literal["tagger"] = "tagger"
    vocab_size: Size  # of the tokenizer
    embedding_size: Size  # width of a token's own vector
    fields: list[FieldConfig] = Field(default_factory=list)  # further ones; ids are then in mixed radix
    kind: CellKind
    hidden_size: Size  # per direction
    num_layers: Depth
    bidirectional: bool = True
    num_classes: Annotated[int, Field(ge=2, le=10_000)]
    dropout: Probability = 0.0  # on embeddings, between layers and before the head, in training only
    crf: bool = False  # labels are scored as a sequence (models.crf), with transitions beside the head's scores

    @model_validator(mode="after")
    def _ids_fit(self) -> Self:
        if self.num_ids > MAX_IDS:
            raise ValueError(f"vocab_size and the fields' sizes make {self.num_ids} ids; at most {MAX_IDS} fit")
        return self

    @property
    def task(self) -> Literal["tagging"]:
        """The task that this architecture serves."""
        return "tagging"

    @property
    def field_sizes(self) -> list[int]:
        """Of the token itself and its other fields, how many numbers each has."""
        return [self.vocab_size, *(item.size for item in self.fields)]

    @property
    def field_widths(self) -> list[int]:
        """Widths of their vectors."""
        return [self.embedding_size, *(item.width for item in self.fields)]

    @property
    def num_ids(self) -> int:
        """V: every id that the graph takes is below."""
        return prod(self.field_sizes)

    @property
    def recurrent(self) -> RecurrentConfig:
        """The stack inside."""
        return RecurrentConfig(
            kind=self.kind,
            input_size=sum(self.field_widths),
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            dropout=self.dropout,
        )

    @property
    def state_size(self) -> int:
        """D: no state outlives a call."""
        return 0

    @property
    def row(self) -> tuple[RowEntry, ...]:
        """No state row."""
        return ()
