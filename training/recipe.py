"""The recipe: everything that decides a run, read from YAML, frozen and checked once. Knows nothing of torch."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from models.config import CellKind, FrozenModel, LanguageModelConfig, Probability, Size, checked
from models.errors import ConfigError
from models.tokenizer import TokenizerKind
from training.overrides import applied
from training.recipe_yaml import read_yaml

DatasetName = Literal["tiny-shakespeare", "war-and-peace", "names", "builtin", "text-file"]
ScheduleKind = Literal["one-cycle", "cosine", "constant"]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]

RECIPES = Path(__file__).parent / "recipes"


class DataSection(FrozenModel):
    """Which text, and how it is split."""

    dataset: DatasetName
    path: str | None = None  # with dataset text-file: the file, UTF-8, plain or .gz
    max_characters: Annotated[int, Field(ge=100)] | None = None  # with dataset builtin: keep the first so many
    validation_share: Share = 0.1  # the last so much of the text; of shuffled documents where there are several

    @model_validator(mode="after")
    def _options_fit_the_dataset(self) -> Self:
        if self.path is None and self.dataset == "text-file":
            raise _unfit("dataset text-file needs data.path, such as data.path=my.txt")
        if self.path is not None and self.dataset != "text-file":
            raise _unfit(f"data.path goes with dataset text-file, not with {self.dataset}; leave it out")
        if self.max_characters is not None and self.dataset != "builtin":
            raise _unfit(f"data.max_characters goes with dataset builtin, not with {self.dataset}; leave it out")
        return self


class TokenizerSection(FrozenModel):
    """How text becomes token ids; trained on the training part only."""

    kind: TokenizerKind
    vocab_size: Size | None = (
        None  # with byte-bpe: the most ids, 256 or more (257 with ends); characters count themselves
    )

    @model_validator(mode="after")
    def _size_fits_the_kind(self) -> Self:
        if self.vocab_size is None and self.kind == "byte-bpe":
            raise _unfit("byte-bpe needs tokenizer.vocab_size, such as tokenizer.vocab_size=2048")
        if self.vocab_size is not None and self.kind != "byte-bpe":
            raise _unfit(f"tokenizer.vocab_size goes with kind byte-bpe, not with {self.kind}; leave it out")
        return self


class ModelSection(FrozenModel):
    """The architecture without its vocabulary, whose size the tokenizer decides."""

    kind: CellKind
    embedding_size: Size
    hidden_size: Size
    num_layers: Annotated[int, Field(ge=1, le=64)]
    dropout: Probability = 0.0
    tied_embeddings: bool = False

    def config(self, vocab_size: int) -> LanguageModelConfig:
        """The whole architecture's configuration."""
        return LanguageModelConfig(vocab_size=vocab_size, **self.model_dump())


class BatchSection(FrozenModel):
    """What one training step reads."""

    lanes: Size  # parts of the text that are read side by side, each with its own state
    window: Size  # the most tokens of a lane between two updates; gradients go back this far, states further


class OptimizerSection(FrozenModel):
    """AdamW (Loshchilov & Hutter 2019)."""

    learning_rate: Positive  # the highest that the schedule reaches
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    clip: Positive = 1.0  # longest norm of the whole gradient (Pascanu et al. 2013)


class ScheduleSection(FrozenModel):
    """The learning rate over the run."""

    kind: ScheduleKind
    warmup_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0  # of all updates, in which the rate rises


class Recipe(FrozenModel):
    """A training run. Two runs of one recipe on one machine and one set of library versions give the same bytes."""

    task: Literal["language-model"]
    name: str  # of the model in the store: a-z, 0-9, '.', '_', '-'
    store: str = "artifacts"  # folder in which the bundle is published
    run_dir: str | None = None  # folder of checkpoints and logs; runs/<name> when absent
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None  # of torch on the CPU; the count decides the last bits
    accelerator: Literal["cpu", "gpu", "auto"] = "auto"
    data: DataSection
    tokenizer: TokenizerSection
    model: ModelSection
    batch: BatchSection
    optimizer: OptimizerSection
    schedule: ScheduleSection
    epochs: Size
    patience: Size | None = None  # stop after so many epochs without a new best
    checkpoint_every: Size = 50  # windows between two checkpoints
    half_weights: bool = False  # publish weights as float16

    @property
    def run_path(self) -> Path:
        """The folder of checkpoints and logs."""
        return Path(self.run_dir if self.run_dir is not None else f"runs/{self.name}")


def load_recipe(path: Path, overrides: list[str]) -> Recipe:
    """Read a recipe and apply overrides.

    Args:
        path: the YAML file.
        overrides: "dotted.key=value" each, values in YAML.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed; the message says which are.
    """
    if not path.is_file():
        shipped = ", ".join(sorted(item.name for item in RECIPES.glob("*.yaml")))
        raise ConfigError(f"recipe {path} not found. Shipped in {as_typed(RECIPES)}/: {shipped}.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"recipe {path} is not UTF-8 at byte {error.start}; save it as UTF-8.") from None
    plain: Any = read_yaml(text, str(path))
    changed = applied(plain, overrides)
    _refuse_unknown_keys(changed, Recipe, f"recipe {path}", "")
    return checked(Recipe, changed, f"recipe {path}")


def as_typed(path: Path) -> Path:
    """An absolute path as a user types it: from the working folder where it lies below that."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _unfit(sentence: str) -> PydanticCustomError:
    """Of two keys that do not go together; pydantic would put "Value error" before a ValueError's words."""
    return PydanticCustomError("unfit", "{sentence}", {"sentence": sentence})


def _refuse_unknown_keys(plain: Any, kind: type[FrozenModel], where: str, section: str) -> None:
    """Before the general check, because here the section's own keys can be listed."""
    if not isinstance(plain, dict):
        return
    unknown = [str(key) for key in plain if key not in kind.model_fields]
    if unknown:
        wrong = ", ".join(section + key for key in unknown)
        place = f"section {section[:-1]}" if section else "the recipe"
        raise ConfigError(f"{where}: unknown key {wrong}; keys of {place}: {', '.join(kind.model_fields)}.")
    for key, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, FrozenModel):
            _refuse_unknown_keys(plain.get(key), field.annotation, where, f"{section}{key}.")
