"""The recipe of a translator."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.bundle import Languages
from models.cells import CellKind
from models.config import AttentionKind, BridgeKind, Depth, FrozenModel, Probability, Size, TranslatorConfig
from training.data.numbers import LARGEST
from training.recipe import Recipe, Share, Smoothing, unfit

DatasetName = Literal[
    "tatoeba", "tatoeba-2025", "3am", "wiktionary", "python-docs", "multi30k", "numbers", "pairs-file"
]
_NEEDED = {"numbers": {"examples", "largest", "validation_share"}, "pairs-file": {"path"}}
_OPTIONAL = {"pairs-file": {"validation_share", "validation_path", "test_path"}}
_OPTIONS = ("path", "examples", "largest", "validation_share", "validation_path", "test_path")


class PairsSection(FrozenModel):
    """One of the data sets of a mix."""

    dataset: DatasetName
    path: str | None = None  # with dataset pairs-file: the file, columns source and target: TSV, CSV, JSONL, or .gz
    validation_path: str | None = None  # with pairs-file: pairs that validate, instead of validation_share
    test_path: str | None = None  # with pairs-file: pairs that are measured at the end, beside the validation part
    examples: Annotated[int, Field(ge=100)] | None = None  # with dataset numbers: how many are drawn
    largest: Annotated[int, Field(ge=99, le=LARGEST)] | None = None  # with dataset numbers: the largest number
    validation_share: Share | None = None  # with dataset numbers or pairs-file; the others come with a validation part
    share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0  # of its training pairs, drawn with a fixed seed
    repeat: Annotated[int, Field(ge=1, le=1000)] = 1  # how often an epoch reads each of them

    @model_validator(mode="after")
    def _options_fit_the_dataset(self) -> Self:
        _check_options(self, self.dataset, "")
        return self


class DataSection(FrozenModel):
    """Which sentence pairs: one data set by the keys here, or several in the list datasets, mixed."""

    dataset: DatasetName | None = None
    path: str | None = None  # with dataset pairs-file: the file, columns source and target: TSV, CSV, JSONL, or .gz
    validation_path: str | None = None  # with pairs-file: pairs that validate, instead of validation_share
    test_path: str | None = None  # with pairs-file: pairs that are measured at the end, beside the validation part
    examples: Annotated[int, Field(ge=100)] | None = None  # with dataset numbers: how many are drawn
    largest: Annotated[int, Field(ge=99, le=LARGEST)] | None = None  # with dataset numbers: the largest number
    validation_share: Share | None = None  # with dataset numbers or pairs-file; the others come with a validation part
    datasets: list[PairsSection] = Field(default_factory=list)  # training reads all of them, mixed
    validation: DatasetName | None = None  # of datasets, the one whose validation part chooses the epoch; null: first
    simplified: bool = False  # convert Chinese to simplified characters (needs the package opencc)
    source_variants: Probability = (
        0.0  # share of training sources read in lower case, without final punctuation or both
    )

    @model_validator(mode="after")
    def _options_fit_the_dataset(self) -> Self:
        if self.datasets:
            self._check_list()
        elif self.dataset is None:
            raise unfit("data needs dataset, or datasets with a list of several; name one")
        elif self.validation is not None:
            raise unfit("data.validation goes with data.datasets; leave it out")
        else:
            _check_options(self, self.dataset, "data.")
        return self

    @property
    def sections(self) -> list[PairsSection]:
        """Of each data set, the one that chooses the epoch first."""
        if self.dataset is not None:
            options = {key: getattr(self, key) for key in _OPTIONS}
            return [PairsSection.model_validate({"dataset": self.dataset, **options})]
        first = self.validation or self.datasets[0].dataset
        return sorted(self.datasets, key=lambda section: section.dataset != first)

    def _check_list(self) -> None:
        names = [section.dataset for section in self.datasets]
        given = [key for key in ("dataset", *_OPTIONS) if getattr(self, key) is not None]
        if given:
            raise unfit(f"data.{given[0]} goes into data.datasets where there is such a list; write it there")
        if len(set(names)) < len(names):
            raise unfit(f"data.datasets has {', '.join(names)}; name each once, and use repeat to read it more often")
        if self.validation is not None and self.validation not in names:
            raise unfit(f"data.validation {self.validation} is none of the data sets; allowed: {', '.join(names)}")


def _check_options(section: PairsSection | DataSection, dataset: str, prefix: str) -> None:
    """Raises unless the section has the options that its data set needs, and no others."""
    given = {key for key in _OPTIONS if getattr(section, key) is not None}
    needed = set(_NEEDED.get(dataset, set()))
    if dataset == "pairs-file" and "validation_path" not in given:
        needed.add("validation_share")
    if missing := sorted(needed - given):
        raise unfit(f"dataset {dataset} needs {', '.join(f'{prefix}{key}' for key in missing)}")
    if extra := sorted(given - needed - _OPTIONAL.get(dataset, set())):
        raise unfit(f"dataset {dataset} has no {', '.join(f'{prefix}{key}' for key in extra)}; leave it out")
    if {"validation_path", "validation_share"} <= given:
        raise unfit(f"{prefix}validation_path and {prefix}validation_share do not go together; set one of them to null")


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
