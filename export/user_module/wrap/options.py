"""What a user asks `python -m export wrap` for, checked before anything is loaded."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from export.user_module.inputs import InputSpec, ValueRange, input_spec_from_text, value_range_from_text
from models.bundle import Languages
from models.config import checked
from models.errors import ConfigError
from models.store import checked_name
from models.tasks import Fact, Task, task_names, task_of
from models.word_ids import WordsRecord
from models.words import SplitterKind

_SPLITTERS = get_args(SplitterKind)


@dataclass(frozen=True)
class WrapOptions:
    """Everything about the model that its code and weights do not say.

    Attributes:
        reference: FILE:NAME of a class or function that gives the module.
        task: what it does.
        tokenizer: a tokenizer.json, where the task has one.
        to: STORE/NAME, where the bundle goes.
        weights: a file of safetensors or torch.save; None for those that the module comes with.
        labels: of a task with labels, by class.
        source: of a translator, the language it reads, ISO 639-1.
        target: of a translator, the language it writes.
        end_token: what ends a text, where the tokenizer has it.
        start_token: of a translator, what its decoder reads first, if that is not the end token.
        inputs: of a model of frames, NAME:DTYPE[AXIS,...] for each argument of forward.
        ranges: of a model of frames, NAME:LO..HI of inputs.
        outputs: of a model of frames, names of what it gives; none for those of the return value.
        splitter: of a tagger, what its words are, one of models.words.SplitterKind; None: words.
    """

    reference: str
    task: str
    tokenizer: Path | None
    to: Path
    weights: Path | None = None
    labels: tuple[str, ...] = ()
    source: str | None = None
    target: str | None = None
    end_token: str | None = None
    start_token: str | None = None
    inputs: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    splitter: str | None = None

    def __post_init__(self) -> None:
        task = _task(self.task)
        _check_what_is_read(task, self.tokenizer, self.inputs, {"--range": self.ranges, "--output-name": self.outputs})
        checked_name(self.to.name)
        _check_outside_bundles(self.to)
        if "labels" in task.facts and not self.labels:
            raise ConfigError("--labels is missing: name the classes in their order, --labels negative,positive")
        if "labels" not in task.facts and self.labels:
            raise ConfigError(f"--labels goes with {_tasks_with('labels')}, not {self.task}; leave it out.")
        if len(set(self.labels)) != len(self.labels) or not all(self.labels):
            raise ConfigError(f"--labels {','.join(self.labels)} names a class twice or not at all.")
        for flag, value in (("--source", self.source), ("--target", self.target)):
            if "languages" not in task.facts and value is not None:
                raise ConfigError(f"{flag} goes with {_tasks_with('languages')}, not {self.task}; leave it out.")
            if "languages" in task.facts and value is None:
                raise ConfigError(f"{flag} is missing: name the language as two letters (ISO 639-1), such as {flag} en")
            if value is not None and not re.fullmatch("[a-z]{2}", value):
                raise ConfigError(f"{flag} {value} is not a language as two letters (ISO 639-1), such as {flag} en")
        if "words" not in task.facts and self.splitter is not None:
            raise ConfigError(f"--splitter goes with {_tasks_with('words')}, not {self.task}; leave it out.")
        if self.splitter not in (None, *_SPLITTERS):
            raise ConfigError(f"--splitter {self.splitter} is none; allowed: {', '.join(_SPLITTERS)}.")
        if task.engine != "decode after encode" and self.start_token is not None:
            raise ConfigError(
                f"--start-token goes with --task translation, not {self.task}. What stands in front of every text is "
                "the tokenizer's to add (tokenizer.post_processor)."
            )
        if task.tokenizer != "writes" and self.end_token is not None:
            raise ConfigError(
                "--end-token goes with generation and translation. What a text that is only read ends with is the "
                "tokenizer's to add (tokenizer.post_processor)."
            )

    @property
    def languages(self) -> Languages | None:
        """Of a translator."""
        return Languages(source=self.source, target=self.target) if self.source and self.target else None

    @property
    def input_specs(self) -> tuple[InputSpec, ...]:
        """The inputs, read. Raises ExportError."""
        return tuple(input_spec_from_text(text) for text in self.inputs)

    @property
    def input_ranges(self) -> dict[str, ValueRange]:
        """The ranges, read. Raises ExportError."""
        return dict(value_range_from_text(text) for text in self.ranges)

    @property
    def words(self) -> WordsRecord | None:
        """Of a tagger, how text becomes words."""
        if "words" not in task_of(self.task).facts:
            return None
        return checked(WordsRecord, {"splitter": {"kind": self.splitter or "words"}}, "--splitter")


def _check_what_is_read(
    task: Task, tokenizer: Path | None, inputs: tuple[str, ...], others: dict[str, tuple[str, ...]]
) -> None:
    """A model reads text, by a tokenizer, or tensors, by their inputs. Raises ConfigError."""
    if task.tokenizer == "none":
        if tokenizer is not None:
            raise ConfigError(f"--tokenizer goes with tasks of text, not {task.name}; leave it out.")
        if not inputs:
            raise ConfigError(
                "--input is missing: name each argument of forward, --input 'frames:float32[batch,time,8]'"
            )
        return
    if tokenizer is None:
        raise ConfigError(f"--tokenizer is missing: a {task.name} model reads text by its tokenizer.json.")
    for flag, values in {"--input": inputs, **others}.items():
        if values:
            raise ConfigError(f"{flag} goes with --task sequence, not {task.name}; leave it out.")


def _task(name: str) -> Task:
    if name not in task_names():
        raise ConfigError(f"--task {name!r} is not a task. Tasks: {', '.join(task_names())}.")
    return task_of(name)


def _tasks_with(fact: Fact) -> str:
    return " or ".join(f"--task {name}" for name in task_names() if fact in task_of(name).facts)


def _check_outside_bundles(to: Path) -> None:
    """Refuse a place inside a published bundle, or beside its versions."""
    for folder in to.absolute().parents:
        versions = [path.parent for path in folder.glob("*/bundle.json") if path.parent.name.isdigit()]
        if (folder / "bundle.json").is_file() or versions:
            raise ConfigError(
                f"--to {to} lies inside the published bundle {versions[0] if versions else folder}. It is STORE/NAME, "
                "without a version: the next version is found by itself."
            )
