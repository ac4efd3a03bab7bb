"""Models that are ready to run: what is known of each, and what runs it; one class of both for each task."""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from models.bundle import Languages
from models.decoding.detokenizer import TokenTexts
from models.tasks import TaskName
from models.tokenizer import Tokenizer
from runtime.opening import OpenSet


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of models of all tasks.

    Attributes:
        name: the folder's name in the store.
        version: the version in that folder.
        tokenizer: text to ids and back.
        precision: the graph set that runs.
        backend: what runs it.
        metrics: as measured after training.
        bundle_sha256: the bundle's record's, which identifies it.
    """

    task: ClassVar[TaskName]

    name: str
    version: int
    tokenizer: Tokenizer
    precision: str
    backend: str
    metrics: dict[str, float]
    bundle_sha256: str

    @property
    def id(self) -> str:
        """What answers call the model: name/version."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, kw_only=True)
class GenerationFacts(ModelFacts):
    """What is known of a language model.

    Attributes:
        state_width: D.
    """

    task: ClassVar[TaskName] = "generation"

    state_width: int


@dataclass(frozen=True, kw_only=True)
class TranslationFacts(ModelFacts):
    """What is known of a translator.

    Attributes:
        languages: what it translates from and to.
        end_id: the end token's id.
    """

    task: ClassVar[TaskName] = "translation"

    languages: Languages
    end_id: int


@dataclass(frozen=True, kw_only=True)
class SentimentFacts(ModelFacts):
    """What is known of a classifier.

    Attributes:
        labels: by class.
    """

    task: ClassVar[TaskName] = "sentiment"

    labels: list[str]


@dataclass(frozen=True, kw_only=True)
class GenerationModel(GenerationFacts):
    """A language model that is loaded.

    Attributes:
        opened: the graph set that runs it.
    """

    opened: OpenSet


@dataclass(frozen=True, kw_only=True)
class TranslationModel(TranslationFacts):
    """A translator that is loaded.

    Attributes:
        opened: the graph set that runs it.
    """

    opened: OpenSet


@dataclass(frozen=True, kw_only=True)
class SentimentModel(SentimentFacts):
    """A classifier that is loaded.

    Attributes:
        opened: the graph set that runs it.
    """

    opened: OpenSet


LoadedModel = GenerationModel | TranslationModel | SentimentModel


def facts_of(model: LoadedModel) -> ModelFacts:
    """What is known of a model, without what runs it."""
    kind: type[ModelFacts] = {
        GenerationModel: GenerationFacts,
        TranslationModel: TranslationFacts,
        SentimentModel: SentimentFacts,
    }[type(model)]
    known: dict[str, Any] = {item.name: getattr(model, item.name) for item in fields(kind)}
    return kind(**known)


def texts_of(model: ModelFacts) -> TokenTexts | None:
    """The texts of its tokens; None where it writes none."""
    return None if isinstance(model, SentimentFacts) else TokenTexts(model.tokenizer.token_bytes)
