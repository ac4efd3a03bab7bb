"""The recipe of tagging."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.cells import CellKind
from models.config import FieldConfig, FrozenModel, Probability, Size, TaggerConfig
from models.word_ids import FieldKind
from models.words import SplitterKind
from training.data.tags import ConlluColumn, FileFormat
from training.recipe import Recipe, Share, Smoothing, check_lanes, unfit
from training.sentiment.recipe import PretrainingSection

DatasetName = Literal["ewt", "gsd", "wnut17", "gmb", "cluener", "weibo", "errands", "tags-file"]
TextsName = Literal["imdb", "sst2", "waimai", "online-shopping"]


class TaggingDataSection(FrozenModel):
    """Which tagged sentences."""

    dataset: DatasetName
    path: str | None = None  # with tags-file: the file, UTF-8, plain or .gz
    validation_path: str | None = None  # with tags-file: sentences that validate, instead of validation_share
    test_path: str | None = None  # with tags-file: sentences that are measured at the end, beside the validation part
    format: FileFormat | None = None  # with tags-file: conllu, columns, tsv, csv or jsonl
    splitter: SplitterKind | None = None  # with tags-file: how raw text becomes words like these
    validation_share: Share | None = None  # with tags-file or errands; the others come with a validation part
    column: ConlluColumn = "upos"  # of CoNLL-U, which tags: upos or xpos

    @model_validator(mode="after")
    def _options_fit_the_dataset(self) -> Self:
        own = {"tags-file": {"path", "format", "splitter", "validation_share"}, "errands": {"validation_share"}}
        needed = own.get(self.dataset, set())
        more = {"validation_path", "test_path"} if self.dataset == "tags-file" else set()
        keys = ("path", "format", "splitter", "validation_share", "validation_path", "test_path")
        given = {key for key in keys if getattr(self, key) is not None}
        if extra := sorted(given - needed - more):
            raise unfit(f"dataset {self.dataset} has no {', '.join(extra)}; leave it out")
        if {"validation_path", "validation_share"} <= given:
            raise unfit("validation_path and validation_share do not go together; set one of them to null")
        if missing := sorted(needed - given - ({"validation_share"} if "validation_path" in given else set())):
            raise unfit(f"dataset {self.dataset} needs {', '.join(missing)}")
        is_conllu = self.dataset in ("ewt", "gsd") or self.format == "conllu"
        if self.column != "upos" and not is_conllu:
            raise unfit(f"column {self.column} goes with CoNLL-U; leave it out for dataset {self.dataset}")
        return self


class TaggingTokenizerSection(FrozenModel):
    """How a word becomes tokens.

    "word" keeps whole words, in lower case and with 0 for every digit; one that is not known is <unk>, of which the
    fields still say something. "character" reads each character.
    """

    kind: Literal["word", "character"]  # word: whole, in lower case, 0 for every digit; or each character
    least: Size = 2  # with word: how often a word occurs at least in the tagged sentences
    least_in_texts: Size = 10  # or so often in the pre-training texts


class FieldSection(FrozenModel):
    """One more field of a token."""

    kind: FieldKind  # what is read of a token's word: its ends, its shape, the word after it
    least: Size  # how often a value occurs at least, in the tagged sentences
    least_in_texts: Size = 300  # or so often in the pre-training texts
    width: Size  # of its vectors


class TaggerModelSection(FrozenModel):
    """The architecture without vocabulary and classes, which the data decides."""

    embedding_size: Size  # width of a token's own vector
    kind: CellKind  # of the recurrent cell (docs/cells.md)
    hidden_size: Size  # width of the hidden state, per direction
    num_layers: Annotated[int, Field(ge=1, le=64)]  # stacked layers
    bidirectional: bool = True  # whether it reads in both directions
    dropout: Probability = 0.0  # on embeddings, between layers and before the head, in training only
    crf: bool = False  # score the labels of a sentence together (models.crf)

    def config(self, vocab_size: int, fields: list[FieldConfig], num_classes: int) -> TaggerConfig:
        """The whole architecture's configuration."""
        return TaggerConfig(vocab_size=vocab_size, fields=fields, num_classes=num_classes, **self.model_dump())


class TaggingBatchSection(FrozenModel):
    """What one training step reads: sentences of about the same length."""

    sentences: Size  # sentences of about the same length
    max_tokens: Size = 200  # training reads the first so many of a sentence; validation reads all


class TaggingPretrainingSection(PretrainingSection):
    """A language model in each direction, on the sentences without their tags and on further texts."""

    texts: list[TextsName] = Field(default_factory=list)  # training parts of these data sets, read beside the sentences


class TaggingRecipe(Recipe):
    """A tagger's run: cross entropy of every token's tag, with smoothed labels; with a CRF that of sentences."""

    task: Literal["tagging"]
    tokenizer: TaggingTokenizerSection  # type: ignore[assignment]  # of words, not of texts
    fields: list[FieldSection] = Field(default_factory=list)  # what is known of a token beside the token itself
    data: TaggingDataSection
    model: TaggerModelSection
    batch: TaggingBatchSection
    label_smoothing: Smoothing = 0.0  # share of the label's weight that all classes share (Szegedy et al. 2016)
    pretraining: TaggingPretrainingSection | None = None  # before any tag is seen; none when absent
    token_dropout: Probability = 0.0  # share of a training sentence's tokens that are read as unknown, fields kept

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        kinds = [field.kind for field in self.fields]
        if len(set(kinds)) != len(kinds):
            raise unfit(f"fields has {', '.join(kinds)}; name each kind once")
        if self.model.crf and self.label_smoothing:
            raise unfit("label_smoothing is for taggers without a CRF; leave it out, or model.crf")
        if self.pretraining is not None:
            check_lanes("pretraining.lanes", self.pretraining.lanes, self.trainer)
        return self
