"""The architectures that a bundle may hold, distinguished by their field `architecture`.

A wrapped model is one whose code is a user's own: the bundle holds its weights and graphs, not the code, so other graph
sets can be made of it only where the code is.
"""

from itertools import accumulate
from math import prod
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from models.config import (
    ClassifierConfig,
    FrozenModel,
    LanguageModelConfig,
    RowEntry,
    Size,
    TaggerConfig,
    TranslatorConfig,
)
from models.forecaster import ForecasterConfig
from models.signature import DataType, Signature
from models.tasks import Task, TaskName, task_of


class StatePart(FrozenModel):
    """One of the tensors that the module takes and gives as its state, without the batch axis.

    In the row every part is float32: an integer there is exact up to 2^24.
    """

    name: str
    shape: list[Annotated[int, Field(ge=1)]]
    dtype: DataType = "float32"  # the module's own

    @property
    def size(self) -> int:
        """Numbers of the state row that it takes."""
        return prod(self.shape)


class WrappedConfig(FrozenModel):
    """A user's module behind the graphs of one task."""

    architecture: Literal["wrapped"] = "wrapped"
    task: TaskName
    vocab_size: Annotated[int, Field(ge=0, le=1_000_000)]  # 0 where the task has no tokenizer
    state: list[StatePart]  # in the order of the state row
    signature: Signature | None = None  # of a task of frames
    memory_width: Size | None = None  # M, where the task has a memory
    keys_width: Size | None = None  # A, where it has keys
    start_id: int | None = None  # what a translator's decoder reads first, where that is not the end token
    num_classes: Annotated[int, Field(ge=2, le=10_000)] | None = None  # C, of a task with labels
    special_ids: list[int] = Field(default_factory=list)  # that the module may treat otherwise; read often in checks

    @model_validator(mode="after")
    def _fields_fit_the_task(self) -> Self:
        has = {
            "state": bool(self.state),
            "memory_width": self.memory_width is not None,
            "keys_width": self.keys_width is not None,
            "num_classes": self.num_classes is not None,
            "signature": self.signature is not None,
            "vocab_size": self.vocab_size > 0,
        }
        task = task_of(self.task)
        wanted = {f"{tensor.name}_width" for tensor in task.row_tensors}
        wanted |= {"state"} if task.has_state else set()
        wanted |= {"num_classes"} if "labels" in task.facts else set()
        wanted |= {"signature"} if task.inputs == "frames" else set()
        wanted |= {"vocab_size"} if task.tokenizer != "none" else set()
        if task.inputs == "frames" and not self.state:  # such a model reads whole sequences
            wanted.discard("state")
        wrong = [field for field, is_there in has.items() if is_there != (field in wanted)]
        if wrong:
            raise ValueError(
                f"a wrapped model for {self.task} has {', '.join(sorted(wanted)) or 'none of these'}; wrong: {wrong}"
            )
        return self

    @property
    def model_task(self) -> Task:
        """The task's record, with the model's own tensors in its graphs where it has such."""
        task = task_of(self.task)
        return task if self.signature is None else self.signature.task(task, has_state=bool(self.state))

    @property
    def state_size(self) -> int:
        """D: the length of the state row."""
        return sum(part.size for part in self.state)

    @property
    def row(self) -> tuple[RowEntry, ...]:
        """The parts of the state row."""
        ends = accumulate(part.size for part in self.state)
        return tuple(
            RowEntry(name=part.name, offset=end - part.size, size=part.size)
            for part, end in zip(self.state, ends, strict=True)
        )


ArchitectureConfig = (
    LanguageModelConfig | TranslatorConfig | ClassifierConfig | TaggerConfig | ForecasterConfig | WrappedConfig
)
Architecture = Annotated[ArchitectureConfig, Field(discriminator="architecture")]
