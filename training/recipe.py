"""What the recipes of all tasks share: all that determines a run, frozen, checked once. Knows nothing of torch."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from models.config import FrozenModel, Probability, Size
from models.tokenizer_kind import TokenizerKind

ScheduleKind = Literal["one-cycle", "cosine", "constant"]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Smoothing = Annotated[float, Field(ge=0.0, lt=1.0)]


LoggerKind = Literal["none", "csv", "tensorboard"]
# Keys that may change between two starts of a run: no weight depends on them.
PLACES = frozenset({"store", "run_dir", "checkpoint_every", "trainer.logger"})


class TokenizerSection(FrozenModel):
    """How text becomes token ids; trained on the training part only."""

    kind: TokenizerKind  # character: each is a token; byte-bpe: merged bytes (Sennrich et al. 2016)
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

    learning_rate: Positive  # the highest of the schedule
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01  # decoupled from the gradient
    beta2: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999  # how long squared gradients are remembered
    clip: Positive = 1.0  # longest norm of the whole gradient (Pascanu et al. 2013)


class ScheduleSection(FrozenModel):
    """The learning rate over the run."""

    kind: ScheduleKind  # one-cycle rises and falls, cosine falls, constant stays, each after a warm-up
    warmup_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0  # of all updates, in which the rate rises


class AverageSection(FrozenModel):
    """The average of the weights that is validated and published in place of the last ones; off by default."""

    kind: Literal["none", "ema", "swa"] = "none"  # ema: moving, over updates; swa: mean of the last epochs' weights
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999  # with ema: what an update leaves of the average
    start_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.75  # with swa: share of all epochs before it begins

    @model_validator(mode="after")
    def _options_fit_the_kind(self) -> Self:
        for key, kind in (("decay", "ema"), ("start_share", "swa")):
            is_changed = getattr(self, key) != type(self).model_fields[key].default
            if is_changed and self.kind != kind:
                raise unfit(f"average.{key} goes with average.kind {kind}, not with {self.kind}; leave it out")
        return self


class RegularizationSection(FrozenModel):
    """What acts in training only, beside model.dropout; all off by default."""

    weight_drop: Probability = 0.0  # share of recurrent weights that are 0 in an update (Merity et al. 2018)
    locked_dropout: bool = False  # model.dropout draws one mask for all time steps (Gal & Ghahramani 2016)
    embedding_dropout: Probability = (
        0.0  # share of the vocabulary whose vectors are 0 in an update (Merity et al. 2018)
    )


class TrainerSection(FrozenModel):
    """Devices, precision and processes, by Lightning Fabric's names.

    A batch is divided among the devices, so the number of devices changes the speed and the last bits of the weights,
    not the recipe.
    """

    accelerator: Literal["cpu", "gpu", "auto"] = "auto"  # auto: a GPU where there is one
    devices: Annotated[int, Field(ge=1, le=64)] = 1  # GPUs, or processes on the CPU; each computes part of every batch
    strategy: Literal["auto", "ddp"] = "auto"  # ddp: one process a device, gradients averaged; auto: ddp for several
    precision: Literal["32-true", "bf16-mixed"] = "32-true"  # bf16-mixed: products in bfloat16, weights in float32
    accumulate_grad_batches: Annotated[int, Field(ge=1, le=1024)] = 1  # batches whose gradients make one update
    logger: LoggerKind = "none"  # of each update and epoch, below run_dir; tensorboard needs the package tensorboard

    @model_validator(mode="after")
    def _ddp_has_several_devices(self) -> Self:
        if self.strategy == "ddp" and self.devices == 1:
            raise unfit("trainer.strategy ddp is for several devices and trainer.devices is 1; set both or neither")
        return self


class Recipe(FrozenModel):
    """A training run. Two runs of one recipe on one machine and one set of library versions give the same bytes.

    Each task's recipe adds the sections data, model and batch, and what else the task needs.
    """

    task: str  # which task the recipe is of
    name: str  # of the model in the store: a-z, 0-9, '.', '_', '-'
    store: str = "artifacts"  # folder in which the bundle is published
    run_dir: str | None = None  # folder of checkpoints and logs; runs/<name> when absent
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0  # of the first weights, of dropout and of the order
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None  # of torch on the CPU; the last bits depend on it
    start_from: str | None = None  # folder of a bundle, or NAME/VERSION of the store, whose weights come first
    trainer: TrainerSection = TrainerSection()
    tokenizer: TokenizerSection
    optimizer: OptimizerSection
    schedule: ScheduleSection
    average: AverageSection = AverageSection()
    regularization: RegularizationSection = RegularizationSection()
    epochs: Size  # passes over the training part; a finished run goes on when it is raised
    patience: Size | None = None  # stop after so many epochs without a new best
    checkpoint_every: Size = 50  # batches between two checkpoints
    half_weights: bool = False  # publish weights as float16

    @model_validator(mode="after")
    def _weights_come_from_one_place(self) -> Self:
        if self.start_from is not None and getattr(self, "pretraining", None) is not None:
            raise unfit("start_from and pretraining both give the first weights; set pretraining=null or leave out one")
        return self

    def determining(self) -> dict[str, Any]:
        """Plain data of every key that the weights depend on: all but PLACES."""
        nested: dict[str, Any] = {key: True for key in PLACES if "." not in key}
        nested |= {section: {key} for section, _, key in (name.partition(".") for name in PLACES) if key}
        return self.model_dump(exclude=nested)

    @property
    def run_path(self) -> Path:
        """The folder of checkpoints and logs."""
        return Path(self.run_dir if self.run_dir is not None else f"runs/{self.name}")


def check_lanes(key: str, lanes: int, trainer: TrainerSection) -> None:
    """Raises unless each device has a lane of the text, whose state it carries."""
    if lanes < trainer.devices:
        raise unfit(f"{key} is {lanes} and trainer.devices is {trainer.devices}; each device needs a lane of its own")


def unfit(sentence: str) -> PydanticCustomError:
    """Of two keys that do not go together; pydantic would put "Value error" before a ValueError's words."""
    return PydanticCustomError("unfit", "{sentence}", {"sentence": sentence})
