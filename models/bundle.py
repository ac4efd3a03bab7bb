"""The bundle: one trained model as a folder on disk (see models.store for where it lies).

    bundle.json          what it is: architecture, tokenizer, row layout, metrics, provenance, sha256 of the core files
    weights.safetensors  parameters, float32 or float16
    tokenizer.json       Hugging Face `tokenizers`
    words.json           of a tagger: how raw text becomes words, and what is read of a token beside its id
    README.md            the card: data, licence, metrics, limits
    onnx/<set>/          graph sets, see models.graph_set

Core files never change once published. Loading checks every hash and names the file that is wrong. No pickle anywhere.
"""

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from safetensors.numpy import load, save

from models.architecture import Architecture, ArchitectureConfig, WrappedConfig
from models.cells import ANY_CELL
from models.config import ClassifierConfig, FrozenModel, RowEntry, TaggerConfig, TranslatorConfig, checked
from models.crf import Crf
from models.digest import as_json, check_files, file_sha256, read_checked, read_sealed, sealed, write_durably
from models.errors import BundleCorruptError, ConfigError
from models.forecaster import ForecasterConfig
from models.graph_set import SETS, GraphSet
from models.store import Store
from models.tasks import Task, TaskName, task_of
from models.tokenizer import END_TOKEN, Tokenizer
from models.tokenizer_kind import ReadingKind, TokenizerKind
from models.word_ids import WordsRecord

RECORD = "bundle.json"
WEIGHTS = "weights.safetensors"
TOKENIZER = "tokenizer.json"
WORDS = "words.json"
CARD = "README.md"


LanguageCode = Annotated[str, Field(pattern="^[a-z]{2}$")]


class TokenizerRecord(FrozenModel):
    """What a reader of bundle.json wants to know of tokenizer.json."""

    kind: TokenizerKind | ReadingKind
    vocab_size: int
    unknown_id: int | None
    end_id: int | None
    end_token: str = END_TOKEN


class Languages(FrozenModel):
    """What a translator translates, as ISO 639-1 codes."""

    source: LanguageCode  # ISO 639-1
    target: LanguageCode  # ISO 639-1


class Experience(NamedTuple):
    """Counts of what a translator was trained and validated on, end tokens counted; None: its bundle does not say it.

    They stand in bundle.json under provenance, data.

    Attributes:
        longest_source_tokens: tokens of the longest source.
        longest_target_tokens: tokens of the longest translation.
        train_pairs: pairs that it was trained on.
        sources_without_letters: those of them whose source has no letter, such as numbers alone.
    """

    longest_source_tokens: int | None = None
    longest_target_tokens: int | None = None
    train_pairs: int | None = None
    sources_without_letters: int | None = None


class BundleRecord(FrozenModel):
    """The contents of bundle.json."""

    format: Literal[1] = 1
    name: str
    version: int
    task: TaskName
    architecture: Architecture
    tokenizer: TokenizerRecord | None  # of a task whose record asks for one
    languages: Languages | None = None  # of a task whose record asks for them
    labels: list[str] | None = None  # by class, of a task whose record asks for them
    state_width: int  # D, the length of the state row; 0 where nothing is carried
    memory_width: int | None = None  # M, of what a row keeps beside its state
    keys_width: int | None = None  # A, of what its attention compares with
    row: list[RowEntry]  # the parts of the state row
    metrics: dict[str, float]
    provenance: dict[str, Any]  # recipe, data set, library versions, dates
    files: dict[str, str]  # core file -> sha256
    sha256: str  # of this record; identifies the bundle

    @model_validator(mode="after")
    def _facts_fit_the_task(self) -> Self:
        _check_facts(self.architecture, self.languages, self.labels, has_tokenizer=self.tokenizer is not None)
        return self


class Bundle:
    """A published bundle, opened and verified.

    Args:
        path: the version's folder.

    Raises:
        BundleCorruptError: a core file is missing or is not what bundle.json says; the message names it.
        ConfigError: bundle.json has a field that this version of rnnserve does not know.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.record = checked(
            BundleRecord, read_sealed(self.path / RECORD), str(self.path / RECORD), context={ANY_CELL: True}
        )
        if set(self.record.files) != _core_files(self.task):
            raise BundleCorruptError(f"{self.path / RECORD} lists files {sorted(self.record.files)}; publish again.")
        check_files(self.path, self.record.files)

    @property
    def config(self) -> ArchitectureConfig:
        """The architecture's configuration."""
        return self.record.architecture

    @property
    def task(self) -> Task:
        """What the model does: its task's record, with tensors of its own where it has such."""
        config = self.record.architecture
        return config.model_task if isinstance(config, ForecasterConfig | WrappedConfig) else task_of(config.task)

    @property
    def experience(self) -> Experience:
        """What a translator was trained on, as far as its record says it."""
        data = self.record.provenance.get("data")
        counts = {name: data.get(name) for name in Experience._fields} if isinstance(data, dict) else {}
        return Experience(**{name: count for name, count in counts.items() if isinstance(count, int) and count >= 0})

    @property
    def sizes(self) -> dict[str, int]:
        """The model's numbers by the letters of models.tasks: V, D, and as far as it has them M, A and C."""
        record, config = self.record, self.config
        vocab_size = None if record.tokenizer is None else record.tokenizer.vocab_size
        numbers = {
            "V": config.num_ids if isinstance(config, TaggerConfig) else vocab_size,
            "D": record.state_width,
            "M": record.memory_width,
            "A": record.keys_width,
            "C": None if record.labels is None else len(record.labels),
        }
        return {letter: number for letter, number in numbers.items() if number is not None}

    @property
    def id(self) -> str:
        """The model as API answers name it: name/version."""
        return f"{self.record.name}/{self.record.version}"

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            BundleCorruptError: its file has changed since the bundle was opened.
            ConfigError: models of the task have none.
        """
        if self.record.tokenizer is None:
            raise ConfigError(f"{self.id} has no tokenizer: {self.record.task} models take tensors, not text.")
        return Tokenizer.from_json(
            self._read(TOKENIZER).decode(),
            end_token=self.record.tokenizer.end_token,
            only_reads=self.task.tokenizer == "reads",
        )

    @cached_property
    def words(self) -> WordsRecord | None:
        """How raw text becomes words, of a task whose record asks for it.

        Raises:
            BundleCorruptError: its file has changed since the bundle was opened.
            ConfigError: it has a field that this version of rnnserve does not know.
        """
        if "words" not in self.task.facts:
            return None
        plain = json.loads(self._read(WORDS))
        return checked(WordsRecord, plain, str(self.path / WORDS))

    @cached_property
    def crf(self) -> Crf | None:
        """What finds the labels of a sentence, of a tagger with a CRF.

        Raises:
            BundleCorruptError: the weights' file has changed since the bundle was opened, or holds no transitions.
        """
        if not isinstance(self.config, TaggerConfig) or not self.config.crf:
            return None
        transitions, side = self.weights().get("transitions"), self.config.num_classes + 1
        if transitions is None or transitions.shape != (side, side):
            raise BundleCorruptError(f"{self.path / WEIGHTS} has no transitions of {side} x {side}; publish again.")
        return Crf(transitions, self.record.labels or [])

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Parameters by the name that PyTorch gives them, as float32 whatever the file holds.

        Raises:
            BundleCorruptError: the file has changed since the bundle was opened.
        """
        stored = load(self._read(WEIGHTS))
        return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in stored.items()}

    def _read(self, name: str) -> bytes:
        return read_checked(self.path, name, self.record.files[name])

    def graph_set_path(self, name: str) -> Path:
        """Where the graph set of that name lies or would lie."""
        return self.path / "onnx" / name

    def graph_set(self, name: str) -> GraphSet:
        """Open and verify a graph set.

        Raises:
            BundleNotFoundError: the bundle has no such set; the message lists those it has.
            BundleCorruptError: a file of the set is not what its manifest says, or it was made from another bundle.
        """
        return GraphSet(self.graph_set_path(name), bundle_sha256=self.record.sha256)

    @property
    def graph_sets(self) -> tuple[str, ...]:
        """Names of the graph sets that are there, in the order of models.graph_set.SETS."""
        return tuple(name for name in SETS if self.graph_set_path(name).is_dir())


def publish(
    store: Store,
    name: str,
    *,
    config: ArchitectureConfig,
    weights: dict[str, NDArray[np.floating[Any]]],
    tokenizer: Tokenizer | None,
    card: str,
    metrics: dict[str, float],
    provenance: dict[str, Any],
    languages: Languages | None = None,
    labels: Sequence[str] | None = None,
    words: WordsRecord | None = None,
    half: bool = False,
    complete: Callable[[Bundle], None] = lambda _: None,
) -> Bundle:
    """Write the next version of a model, whole or not at all.

    Args:
        store: where to.
        name: the model's name.
        config: the architecture.
        weights: parameters by PyTorch name.
        tokenizer: the tokenizer; its vocab_size is config.vocab_size. None where the task has none.
        card: Markdown text of the card.
        metrics: name -> figure, as measured.
        provenance: what made it: recipe, data, library versions.
        languages: where the task's record asks for them; nothing else has them.
        labels: where the task's record asks for them, one for each class, all different; nothing else has them.
        words: where the task's record asks for it; nothing else has it.
        half: store the weights as float16 (what is exported and served is then computed from the rounded ones).
        complete: called with the bundle before it gets its place in the store, to add graph sets; what it raises keeps
            the bundle from being published.

    Returns:
        The published bundle, opened.

    Raises:
        BundleError: the name is not allowed.
    """
    if tokenizer is not None and tokenizer.vocab_size != config.vocab_size:
        raise ValueError(f"tokenizer has {tokenizer.vocab_size} ids, the config {config.vocab_size}")
    _check_facts(config, languages, labels, has_tokenizer=tokenizer is not None)
    if (words is not None) != ("words" in task_of(config.task).facts):
        raise ValueError(f"words are {'missing' if words is None else 'needless'} for a {config.task} bundle")
    dtype = np.float16 if half else np.float32
    with store.new_version(name) as (folder, target):
        arrays = {key: np.ascontiguousarray(array, dtype=dtype) for key, array in weights.items()}
        write_durably(folder / WEIGHTS, save(arrays))
        if tokenizer is not None:
            write_durably(folder / TOKENIZER, tokenizer.to_json().encode())
        write_durably(folder / CARD, card.encode())
        if words is not None:
            write_durably(folder / WORDS, json.dumps(words.model_dump(), ensure_ascii=False).encode())
        record = {
            "format": 1,
            "name": name,
            "version": int(target.name),
            "task": config.task,
            "architecture": config.model_dump(),
            "tokenizer": None
            if tokenizer is None
            else {
                "kind": tokenizer.kind,
                "vocab_size": tokenizer.vocab_size,
                "unknown_id": tokenizer.unknown_id,
                "end_id": tokenizer.end_id,
                "end_token": tokenizer.end_token,
            },
            "languages": None if languages is None else languages.model_dump(),
            "labels": None if labels is None else list(labels),
            "state_width": config.state_size,
            "memory_width": config.memory_width if isinstance(config, TranslatorConfig | WrappedConfig) else None,
            "keys_width": config.keys_width if isinstance(config, TranslatorConfig | WrappedConfig) else None,
            "row": [entry.model_dump() for entry in config.row],
            "metrics": metrics,
            "provenance": provenance,
            "files": {file: file_sha256(folder / file) for file in sorted(_core_files(task_of(config.task)))},
        }
        write_durably(folder / RECORD, as_json(sealed(record)))
        complete(Bundle(folder))
    return Bundle(target)


def _core_files(task: Task) -> set[str]:
    has_tokenizer = task.tokenizer != "none"
    return {WEIGHTS, CARD} | ({TOKENIZER} if has_tokenizer else set()) | ({WORDS} if "words" in task.facts else set())


def _check_facts(
    config: ArchitectureConfig, languages: Languages | None, labels: Sequence[str] | None, *, has_tokenizer: bool
) -> None:
    """Raises ValueError unless the bundle has what its task's record asks for and nothing else."""
    task = task_of(config.task)
    if has_tokenizer != (task.tokenizer != "none"):
        raise ValueError(f"the tokenizer is {'needless' if has_tokenizer else 'missing'} for {task.name}")
    for fact, is_there in (("languages", languages is not None), ("labels", labels is not None)):
        if is_there != (fact in task.facts):
            wanted = " and ".join(task.facts) or "neither languages nor labels"
            raise ValueError(f"{fact} are {'needless' if is_there else 'missing'}: a {task.name} bundle has {wanted}")
    if labels is None or not isinstance(config, ClassifierConfig | TaggerConfig | WrappedConfig):
        return
    is_wrong = len(set(labels)) != len(labels) or not all(labels)
    if is_wrong or len(labels) != config.num_classes:
        raise ValueError(f"{config.num_classes} classes need as many different labels; got {list(labels)}")
