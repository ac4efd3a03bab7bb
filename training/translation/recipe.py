"""The recipe of a translator."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.bundle import Languages
from models.cells import CellKind
from models.config import AttentionKind, BridgeKind, Depth, FrozenModel, Probability, Size, TranslatorConfig
from training.data.numbers import LARGEST
from training.recipe import Recipe, Share, Smoothing, unfit

DatasetName = Literal["tatoeba", "multi30k", "numbers", "pairs-file"]


class DataSection(FrozenModel):
    """Which sentence pairs."""

    dataset: DatasetName
    path: str | None = None  # with dataset pairs-file: the file, lines source<TAB>target, UTF-8, plain or .gz
    examples: Annotated[int, Field(ge=100)] | None = None  # with dataset numbers: how many are drawn
    largest: Annotated[int, Field(ge=99, le=LARGEST)] | None = None  # with dataset numbers: the largest number
    validation_share: Share | None = None  # with dataset numbers or pairs-file; the others come with a validation part
    simplified: bool = False  # convert Chinese to simplified characters (needs the package opencc)
    source_variants: Probability = (
        0.0  # share of training sources read in lower case, without final punctuation or both
    )

    @model_validator(mode="after")
    def _options_fit_the_dataset(self) -> Self:
        given = {key for key in ("path", "examples", "largest", "validation_share") if getattr(self, key) is not None}
        needed = {"numbers": {"examples", "largest", "validation_share"}, "pairs-file": {"path", "validation_share"}}
        wanted = needed.get(self.dataset, set())
        if missing := sorted(wanted - given):
            raise unfit(f"dataset {self.dataset} needs {', '.join(f'data.{key}' for key in missing)}")
        if extra := sorted(given - wanted):
            raise unfit(f"dataset {self.dataset} has no {', '.join(f'data.{key}' for key in extra)}; leave it out")
        return self


class ModelSection(FrozenModel):
    """The architecture without its vocabulary, whose size the tokenizer decides."""

    embedding_size: Size  # width of a token's vector
    kind: CellKind  # of the cells of encoder and decoder (docs/cells.md)
    encoder_size: Size  # width of the encoder's hidden state, per direction
    encoder_layers: Depth  # stacked layers of the encoder
    bidirectional: bool = True  # whether the encoder reads in both directions; the decoder never does
    hidden_size: Size  # width of the decoder's hidden state
    num_layers: Depth  # stacked layers of the decoder
    attention: AttentionKind = "multiplicative"  # scores of Bahdanau et al. 2015 or of Luong et al. 2015
    attention_size: Size | None = None  # with additive: its width; leave it out with multiplicative
    input_feeding: bool = False  # the attentional vector enters the next step (Luong et al. 2015, section 3.3)
    bridge: BridgeKind = "linear"  # the decoder's first state: made from the encoder's last, or zeros
    dropout: Probability = 0.0  # on embeddings, between layers and before the head, in training only
    shared_embeddings: bool = True  # source and target share one embedding
    tied_embeddings: bool = True  # the head's weight is the target embedding's (Press & Wolf 2017)

    def config(self, vocab_size: int) -> TranslatorConfig:
        """The whole architecture's configuration."""
        return TranslatorConfig(vocab_size=vocab_size, **self.model_dump())

    @model_validator(mode="after")
    def _is_a_translator(self) -> Self:
        self.config(1)  # its own checks, now rather than after the data is read
        return self


class BatchSection(FrozenModel):
    """What one training step reads: whole sentences of about the same length."""

    sentences: Size  # pairs of about the same length
    max_tokens: Size = 128  # a training pair with a longer side is left out


class TranslationRecipe(Recipe):
    """A translator's run: teacher forcing, cross entropy with smoothed labels."""

    task: Literal["translation"]
    languages: Languages
    data: DataSection
    model: ModelSection
    batch: BatchSection
    label_smoothing: Smoothing = 0.0  # share of the target's weight that all tokens share (Szegedy et al. 2016)
    bpe_dropout: Probability = 0.0  # share of merges left out in training sources, drawn anew (Provilkov et al. 2020)
    bleu_sentences: Size | None = None  # after each epoch greedy BLEU of so many validation sentences; not when absent

    @model_validator(mode="after")
    def _bpe_dropout_has_merges(self) -> Self:
        if self.bpe_dropout and self.tokenizer.kind != "byte-bpe":
            raise unfit(f"bpe_dropout goes with tokenizer.kind byte-bpe, not with {self.tokenizer.kind}; leave it out")
        return self
