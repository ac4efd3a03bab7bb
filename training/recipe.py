"""What the recipes of all tasks share: everything that decides a run, frozen, checked once. Knows nothing of torch."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from models.config import FrozenModel, Size
from models.tokenizer_kind import TokenizerKind

ScheduleKind = Literal["one-cycle", "cosine", "constant"]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Smoothing = Annotated[float, Field(ge=0.0, lt=1.0)]


class TokenizerSection(FrozenModel):
    """How text becomes token ids; trained on the training part only."""

    kind: TokenizerKind
    vocab_size: Size | None = (
        None  # with byte-bpe: the most ids, 256 or more (257 with ends); characters count themselves
    )

    @model_validator(mode="after")
    def _size_fits_the_kind(self) -> Self:
        if self.vocab_size is None and self.kind == "byte-bpe":
            raise unfit("byte-bpe needs tokenizer.vocab_size, such as tokenizer.vocab_size=2048")
        if self.vocab_size is not None and self.kind != "byte-bpe":
            raise unfit(f"tokenizer.vocab_size goes with kind byte-bpe, not with {self.kind}; leave it out")
        return self


class OptimizerSection(FrozenModel):
    """AdamW (Loshchilov & Hutter 2019)."""

    learning_rate: Positive  # the highest that the schedule reaches
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    beta2: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999  # how long squared gradients are remembered
    clip: Positive = 1.0  # longest norm of the whole gradient (Pascanu et al. 2013)


class ScheduleSection(FrozenModel):
    """The learning rate over the run."""

    kind: ScheduleKind
    warmup_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0  # of all updates, in which the rate rises


class Recipe(FrozenModel):
    """A training run. Two runs of one recipe on one machine and one set of library versions give the same bytes.

    Each task's recipe adds the sections data, model and batch, and what else the task needs.
    """

    task: str
    name: str  # of the model in the store: a-z, 0-9, '.', '_', '-'
    store: str = "artifacts"  # folder in which the bundle is published
    run_dir: str | None = None  # folder of checkpoints and logs; runs/<name> when absent
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None  # of torch on the CPU; the count decides the last bits
    accelerator: Literal["cpu", "gpu", "auto"] = "auto"
    tokenizer: TokenizerSection
    optimizer: OptimizerSection
    schedule: ScheduleSection
    epochs: Size
    patience: Size | None = None  # stop after so many epochs without a new best
    checkpoint_every: Size = 50  # batches between two checkpoints
    half_weights: bool = False  # publish weights as float16

    @property
    def run_path(self) -> Path:
        """The folder of checkpoints and logs."""
        return Path(self.run_dir if self.run_dir is not None else f"runs/{self.name}")


def unfit(sentence: str) -> PydanticCustomError:
    """Of two keys that do not go together; pydantic would put "Value error" before a ValueError's words."""
    return PydanticCustomError("unfit", "{sentence}", {"sentence": sentence})
