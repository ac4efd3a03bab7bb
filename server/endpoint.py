"""A model that is served: what was loaded, how its task is asked and computed, what answers its requests, and how a
request finds it.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from models.bundle import Experience, Languages
from models.crf import Crf
from models.decoding.detokenizer import TokenTexts
from models.errors import TokenizerError
from models.forecaster import ForecasterConfig
from models.signature import Signature
from models.tokenizer import Tokenizer
from models.word_ids import WordEncoder, WordsRecord
from runtime.opening import OpenGraphs
from runtime.runner import Array
from server.engine.engine import AnyEngine
from server.engine.lane import Observer
from server.errors import FieldError, ModelNotFoundError, nearest, shown
from server.http.limits import Limiter
from server.metrics import EngineMetrics, Metrics
from server.settings import Settings
from server.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from server.api.hugging_face.request import Asked as TaskAsked
    from server.api.inference.tensors import Asked
    from server.service import Service


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model that can compute."""

    name: str  # the folder's name in the store
    version: int  # in that folder
    task: str  # a registered task's name
    own_tokenizer: Tokenizer | None = None  # None for a task without one
    precision: str  # the graph set that runs; of several, their names joined by "+"
    backend: str  # what runs it
    opened: OpenGraphs  # its graphs
    graph_sets: dict[str, str] = field(default_factory=dict)  # graph -> the set that it runs from
    metrics: dict[str, float] = field(default_factory=dict)  # as measured after training
    bundle_sha256: str = ""  # the bundle's record's, which identifies it
    state_width: int = 0  # D; 0 for models without a state
    languages: Languages | None = None  # of a translator
    experience: Experience = field(default_factory=Experience)  # of a translator: what it was trained on
    labels: tuple[str, ...] = ()  # of a classifier or tagger, by class
    words: WordsRecord | None = None  # of a tagger, how text becomes words
    crf: Crf | None = None  # of a tagger with one, what finds the labels of a sentence
    signature: Signature | None = None  # of a model of frames
    forecaster: ForecasterConfig | None = None  # of a forecaster: its frequency, horizon, covariates

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of a model that reads text."""
        assert self.own_tokenizer is not None, "a model of this task has one"
        return self.own_tokenizer

    @property
    def id(self) -> str:
        """What answers call the model: name/version."""
        return f"{self.name}/{self.version}"

    @property
    def without_graphs(self) -> "LoadedModel":
        """What is known of it, for when it is unloaded; nothing of it computes."""
        return replace(self, opened=cast("OpenGraphs", None))


@dataclass(frozen=True)
class Limit:
    """The longest text that a request's field may hold."""

    field: str
    tokens: int  # of each of its texts
    setting: str  # the variable that sets it, for the message


class TensorInfo(NamedTuple):
    """What the Open Inference Protocol says of an input or output."""

    name: str
    datatype: str  # its word, such as FP32
    shape: list[int]  # -1 for an axis of any size


@dataclass(frozen=True)
class TensorTask:
    """How models of a task are asked by tensors (server.api.inference)."""

    inputs: Callable[[LoadedModel], list[TensorInfo]]
    outputs: Callable[[LoadedModel], list[TensorInfo]]
    answer: "Callable[[Service, Endpoint, Request, Asked], Awaitable[Mapping[str, Array]]]"  # outputs; raises ApiError
    # outputs of a request of one text as they come, where the task has such; raises ApiError
    stream: "Callable[[Service, Endpoint, Request, Asked], AsyncGenerator[dict[str, Any]]] | None" = None
    names: Mapping[str, str] = field(default_factory=dict)  # our name of a field -> the one there, for messages


@dataclass(frozen=True)
class HuggingFaceTask:
    """How models of a task are asked in Hugging Face's task JSON (server.api.hugging_face)."""

    name: str  # of the task there
    parameters: type[BaseModel]  # what a request's parameters become
    answer: "Callable[[Service, Endpoint, Request, TaskAsked], Awaitable[Response]]"  # raises ApiError
    names: Mapping[str, str]  # our name of a field -> the one there, for messages
    has_streams: bool = False  # whether `stream` may be true


@dataclass(frozen=True)
class ServerTask:
    """What the server knows of a task beside its record in models.tasks; `create_app` takes further ones.

    A setting default_<name> is the model of requests that name none.
    """

    name: str  # of the record
    router: "Callable[[Service], APIRouter] | None"  # gives the routes of its own, if it has any
    engine: Callable[[LoadedModel, Settings, Observer], AnyEngine]  # gives a model's engine, not started
    limit: Callable[[Settings], Limit]  # gives the longest text that is admitted
    tensors: TensorTask | None = None  # where its models are asked by tensors, too
    hugging_face: HuggingFaceTask | None = None  # where they are asked in Hugging Face's task JSON, too


class Endpoint:
    """One model that is served. Its engine's outputs go to the running event loop."""

    def __init__(self, model: LoadedModel, task: ServerTask, settings: Settings, metrics: Metrics) -> None:
        self.id = model.id
        self.model = model
        self.limit = task.limit(settings)
        self.limiter = Limiter(f"Model {model.id}", settings.max_requests, settings.max_pending_tokens)
        self.metrics = EngineMetrics(metrics, model.id)
        self.engine = task.engine(model, settings, self.metrics)
        self.engine.start(asyncio.get_running_loop())
        metrics.endpoints.append(self)

    @cached_property
    def word_encoder(self) -> WordEncoder:
        """Of a tagger: words to tokens."""
        assert self.model.words is not None, "a tagging bundle has its words"
        return WordEncoder(self.model.tokenizer, self.model.words)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What its tokens say of the texts that it was trained on."""
        try:
            return Vocabulary(self.token_texts.texts)
        except TokenizerError:  # of a kind that only reads: its tokens are not texts
            return Vocabulary(())

    @cached_property
    def token_texts(self) -> TokenTexts:
        """The texts of its tokens."""
        return TokenTexts(self.model.tokenizer.token_bytes)


class Registry:
    """Finds models.

    Args:
        served: the models.
        defaults: for each task, the model of requests that name none; a task may be absent.
    """

    def __init__(self, served: Iterable[Endpoint], defaults: dict[str, str]) -> None:
        self._by_id = {item.id: item for item in sorted(served, key=lambda item: item.model.version)}
        self._by_name = {item.model.name: item for item in self._by_id.values()}  # the highest version comes last
        self._defaults = defaults

    @property
    def models(self) -> list[Endpoint]:
        """All of them, by name and version."""
        return [self._by_id[key] for key in sorted(self._by_id)]

    @property
    def by_name(self) -> list[Endpoint]:
        """The model that each bare name means, by name."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def get(self, model: str) -> Endpoint | None:
        """The model that "name" or "name/version" means, of any task; None where none is loaded."""
        return self._by_id.get(model) or self._by_name.get(model)

    def find(self, task: str, model: str | None) -> Endpoint:
        """The model that a request means.

        Args:
            task: its name.
            model: "name", "name/version", or None for the only one of the task or the default.

        Raises:
            ModelNotFoundError: no model of that name is loaded; the message lists those of the task.
            FieldError: it is another task's model, or none is named and there are several.
        """
        if model is not None:
            return self._named(task, model, "model")
        choices = [item for item in self.by_name if item.model.task == task]  # of several versions the highest
        return self.only_or_default(task, choices, f"{len(choices)} {task} models are loaded")

    def only_or_default(
        self, task: str, choices: list[Endpoint], several: str, fits: Callable[[Endpoint], bool] = lambda _: True
    ) -> Endpoint:
        """The only one of some models, or the task's default if it fits. Raises FieldError, which says `several`."""
        if len(choices) == 1:
            return choices[0]
        if task in self._defaults:
            default = self._named(task, self._defaults[task], None)
            if fits(default):
                return default
        raise FieldError(
            f"model is required: {several}. Choices: {_ids(choices)}. Or set RNNSERVE_DEFAULT_{task.upper()}.",
            param="model",
            code="field_missing",
        )

    def only_of(self, tasks: Collection[str]) -> Endpoint | None:
        """The model of requests that name neither model nor task: the only one of some tasks, or else the only default
        among theirs; None where neither decides.
        """
        choices = [item for item in self.by_name if item.model.task in tasks]
        if len(choices) != 1:
            defaults = [self.get(model) for task, model in self._defaults.items() if task in tasks]
            choices = [item for item in defaults if item is not None]
        return choices[0] if len(choices) == 1 else None

    def _named(self, task: str, model: str, param: str | None) -> Endpoint:
        loaded = [item for item in self.models if item.model.task == task]
        choices = _ids(loaded)
        found = self.get(model)
        if found is None:
            hint = nearest(model, (name for item in loaded for name in (item.model.name, item.id)))
            message = f"Model {shown(model)} not found.{hint} Loaded {task} models: {choices}."
            raise ModelNotFoundError(message, param=param)
        if found.model.task != task:
            raise FieldError(
                f"Model {shown(model)} is for {found.model.task}, not {task}. Loaded {task} models: {choices}.",
                param=param,
            )
        return found


def _ids(served: Iterable[Endpoint]) -> str:
    return ", ".join(item.id for item in served) or "none"
