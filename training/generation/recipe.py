"""The recipe of generation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.cells import CellKind
from models.config import FrozenModel, LanguageModelConfig, Probability, Size
from training.recipe import Recipe, Share, Smoothing, check_lanes, unfit

DatasetName = Literal["tiny-shakespeare", "war-and-peace", "names", "builtin", "text-file", "copy", "recall"]
MADE_OF_EXAMPLES = ("copy", "recall")  # each begins with a state of zeros, and its answer alone counts


class DataSection(FrozenModel):
    """Which text, and how it is split."""

    dataset: DatasetName
    path: str | None = None  # with dataset text-file: the file, UTF-8, plain or .gz
    validation_path: str | None = None  # with text-file: a text that validates; validation_share does not count then
    test_path: str | None = None  # with text-file: a text that is measured at the end, beside the validation part
    max_characters: Annotated[int, Field(ge=100)] | None = None  # with dataset builtin: keep the first so many
    examples: Annotated[int, Field(ge=2)] | None = None  # with copy and recall: how many are made
    longest: Annotated[int, Field(ge=2, le=1000)] | None = None  # with copy: the most letters; with recall: items
    validation_share: Share = 0.1  # the last so much of the text; of shuffled documents where there are several

    @model_validator(mode="after")
    def _options_fit_the_dataset(self) -> Self:
        if self.path is None and self.dataset == "text-file":
            raise unfit("dataset text-file needs data.path, such as data.path=my.txt")
        if self.path is not None and self.dataset != "text-file":
            raise unfit(f"data.path goes with dataset text-file, not with {self.dataset}; leave it out")
        for key in ("validation_path", "test_path"):
            if getattr(self, key) is not None and self.dataset != "text-file":
                raise unfit(f"data.{key} goes with dataset text-file, not with {self.dataset}; leave it out")
        if self.max_characters is not None and self.dataset != "builtin":
            raise unfit(f"data.max_characters goes with dataset builtin, not with {self.dataset}; leave it out")
        for key, value, such_as in (("examples", self.examples, 1000), ("longest", self.longest, 10)):
            if value is None and self.dataset in MADE_OF_EXAMPLES:
                raise unfit(f"dataset {self.dataset} needs data.{key}, such as data.{key}={such_as}")
            if value is not None and self.dataset not in MADE_OF_EXAMPLES:
                raise unfit(f"data.{key} goes with datasets copy and recall, not with {self.dataset}; leave it out")
        return self


class ModelSection(FrozenModel):
    """The architecture without its vocabulary, whose size the tokenizer decides."""

    kind: CellKind  # of the recurrent cell (docs/cells.md)
    embedding_size: Size  # width of a token's vector
    hidden_size: Size  # width of each layer's hidden state
    num_layers: Annotated[int, Field(ge=1, le=64)]  # stacked layers
    dropout: Probability = 0.0  # on embeddings, between layers and before the head (Zaremba et al. 2014)
    tied_embeddings: bool = False  # the head's weight is the embedding's, sizes being equal (Press & Wolf 2017)

    def config(self, vocab_size: int) -> LanguageModelConfig:
        """The whole architecture's configuration."""
        return LanguageModelConfig(vocab_size=vocab_size, **self.model_dump())


class BatchSection(FrozenModel):
    """What one training step reads."""

    lanes: Size  # parts of the text that are read in parallel, each with its own state; divided among the devices
    window: Size | None = None  # the most tokens of a lane between two updates; gradients go back this far, states
    # further; left out with copy and recall, where a lane is one example and gradients go back to its beginning


class GenerationRecipe(Recipe):
    """A language model's run."""

    task: Literal["generation"]
    data: DataSection
    model: ModelSection
    batch: BatchSection
    label_smoothing: Smoothing = 0.0  # share of the target's weight that all tokens share (Szegedy et al. 2016)

    @model_validator(mode="after")
    def _batch_fits(self) -> Self:
        check_lanes("batch.lanes", self.batch.lanes, self.trainer)
        dataset, is_whole = self.data.dataset, self.data.dataset in MADE_OF_EXAMPLES
        if is_whole and self.batch.window is not None:
            raise unfit(f"batch.window is for a running text, and dataset {dataset} is one of examples; leave it out")
        if not is_whole and self.batch.window is None:
            raise unfit(f"dataset {dataset} needs batch.window, such as batch.window=64")
        return self
