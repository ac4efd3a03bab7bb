"""The translator's configuration: encoder, attention, decoder. Knows shapes and ranges; knows nothing of torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.config import CellKind, FrozenModel, Probability, RecurrentConfig, Size

AttentionKind = Literal["additive", "multiplicative"]
BridgeKind = Literal["linear", "zero"]
Depth = Annotated[int, Field(ge=1, le=64)]


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
