"""The recipe of sentiment."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.cells import CellKind
from models.config import ClassifierConfig, FrozenModel, PoolingKind, Probability, Size
from training.recipe import (
    OptimizerSection,
    Recipe,
    ScheduleSection,
    Share,
    Smoothing,
    TokenizerSection,
    check_lanes,
    unfit,
)

DatasetName = Literal["sst2", "imdb", "waimai", "online-shopping", "comparisons", "labels-file"]


class DatasetSection(FrozenModel):
    """One of the data sets of a mix."""

    dataset: DatasetName
    path: str | None = None  # with dataset labels-file: the file, columns text and label: TSV, CSV, JSONL, or .gz
    validation_path: str | None = None  # with labels-file: texts that validate, instead of validation_share
    test_path: str | None = None  # with labels-file: texts that are measured at the end, beside the validation part
    validation_share: Share | None = None  # with comparisons or labels-file; the others come with a validation part
    natural: bool = False  # with dataset sst2: sentences written as people do, not with spaces between all tokens
    chunk_words: Size | None = None  # with dataset imdb: cut reviews into sentences joined to at least so many words
    repeat: Annotated[int, Field(ge=1, le=1000)] = 1  # how often an epoch reads each text
    examples: Size | None = None  # the most texts that an epoch reads, drawn anew for each; null: all
    fade_to: Annotated[float, Field(ge=0.0, le=1.0)] = (
        1.0  # share of `examples` left in the last epoch, on a line to it
    )

    labelled_by: list[str] = Field(  # bundles whose mean probabilities are the labels that training texts have here
        default_factory=list
    )

    @model_validator(mode="after")
    def _options_fit_the_dataset(self) -> Self:
        own = {
            "sst2": {"natural"},
            "imdb": {"chunk_words"},
            "comparisons": {"validation_share"},
            "labels-file": {"path", "validation_share", "validation_path", "test_path"},
        }
        allowed = own.get(self.dataset, set())
        keys = ("path", "validation_share", "validation_path", "test_path", "chunk_words")
        given = {key for key in keys if getattr(self, key) is not None}
        given |= {"natural"} if self.natural else set()
        if extra := sorted(given - allowed):
            raise unfit(f"dataset {self.dataset} has no {', '.join(extra)}; leave it out")
        needed = {"path", "validation_share"} - ({"validation_share"} if self.validation_path is not None else set())
        if missing := sorted((allowed & needed) - given):
            raise unfit(f"dataset {self.dataset} needs {', '.join(missing)}")
        if {"validation_path", "validation_share"} <= given:
            raise unfit("validation_path and validation_share do not go together; set one of them to null")
        if self.examples is not None and self.repeat > 1:
            raise unfit("repeat and examples do not go together; leave one out")
        if self.examples is None and self.fade_to < 1.0:
            raise unfit("fade_to goes with examples; say how many there are in the first epoch")
        return self


class DataSection(FrozenModel):
    """Which labelled texts."""

    datasets: Annotated[list[DatasetSection], Field(min_length=1)]  # training reads all of them, mixed
    validation: DatasetName  # the one whose validation part chooses the best epoch
    best_by: Literal["accuracy", "macro-f1"] = "accuracy"  # there; macro-f1 where one class is rare

    @model_validator(mode="after")
    def _validation_is_one_of_them(self) -> Self:
        names = {section.dataset for section in self.datasets}
        if self.validation not in names:
            raise unfit(
                f"data.validation {self.validation} is none of the data sets; allowed: {', '.join(sorted(names))}"
            )
        return self


class SentimentTokenizerSection(TokenizerSection):
    """How text becomes token ids; a classifier never writes text, so its case may be lost."""

    lowercase: bool = False  # with byte-bpe: read everything in lower case

    @model_validator(mode="after")
    def _lowercase_fits_the_kind(self) -> Self:
        if self.lowercase and self.kind != "byte-bpe":
            raise unfit(f"tokenizer.lowercase goes with kind byte-bpe, not with {self.kind}; leave it out")
        return self


class ModelSection(FrozenModel):
    """The architecture without vocabulary and classes, which the data decides."""

    embedding_size: Size  # width of a token's vector
    kind: CellKind  # of the recurrent cell (docs/cells.md)
    hidden_size: Size  # width of the hidden state, per direction
    num_layers: Annotated[int, Field(ge=1, le=64)]  # stacked layers
    bidirectional: bool = True  # whether it reads in both directions
    pooling: PoolingKind = "mean"  # over time: last state, mean, maximum, learnt weights (Yang et al. 2016)
    dropout: Probability = 0.0  # on embeddings, between layers and before the head, in training only

    def config(self, vocab_size: int, num_classes: int) -> ClassifierConfig:
        """The whole architecture's configuration."""
        return ClassifierConfig(vocab_size=vocab_size, num_classes=num_classes, **self.model_dump())


class BatchSection(FrozenModel):
    """What one training step reads: texts of about the same length."""

    texts: Size  # texts of about the same length
    max_tokens: Size = 256  # training reads the first so many of a text; validation reads all


class PretrainingSection(FrozenModel):
    """A language model in each direction that the classifier reads, on the same texts without their labels."""

    epochs: Size  # passes over the texts
    lanes: Size  # parts of the text that are read in parallel; divided among the devices
    window: Size  # tokens of a lane between two updates
    negatives: Size  # wrong tokens drawn for a window, compared with each right one
    dropout: Probability = 0.0  # on embeddings and outputs
    optimizer: OptimizerSection
    schedule: ScheduleSection


class SentimentRecipe(Recipe):
    """A classifier's run: cross entropy with smoothed labels."""

    task: Literal["sentiment"]
    tokenizer: SentimentTokenizerSection
    data: DataSection
    model: ModelSection
    batch: BatchSection
    label_smoothing: Smoothing = 0.0  # share of the label's weight that all classes share (Szegedy et al. 2016)
    class_weights: Literal["balanced"] | None = None  # balanced: each class weighs as much in the loss; null: each text
    pretraining: PretrainingSection | None = None  # before any label is seen; none when absent
    gradual_unfreezing: bool = False  # the head learns first, then a layer more with each epoch (Howard & Ruder 2018)
    token_dropout: Probability = 0.0  # a training text loses each token with a probability drawn from 0 to twice this

    @model_validator(mode="after")
    def _each_device_has_a_lane(self) -> Self:
        if self.pretraining is not None:
            check_lanes("pretraining.lanes", self.pretraining.lanes, self.trainer)
        return self

    @model_validator(mode="after")
    def _unfreezing_has_something_to_keep(self) -> Self:
        if self.gradual_unfreezing and self.pretraining is None and self.start_from is None:
            raise unfit(
                "gradual_unfreezing keeps what was learnt before; give pretraining or start_from, or leave it out"
            )
        if self.gradual_unfreezing and self.trainer.devices > 1:
            raise unfit("gradual_unfreezing goes with one device; set trainer.devices to 1")
        return self
