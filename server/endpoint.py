"""A model that is served: what was loaded, how its task is asked and computed, and what answers its requests."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from fastapi import APIRouter

from models.bundle import Languages
from models.decoding.detokenizer import TokenTexts
from models.tokenizer import Tokenizer
from runtime.opening import OpenGraphs
from server.engine.engine import AnyEngine
from server.engine.lane import Observer
from server.limiter import Limiter
from server.metrics import EngineMetrics, Metrics
from server.settings import Settings

if TYPE_CHECKING:
    from server.service import Service


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model that can compute."""

    name: str  # the folder's name in the store
    version: int  # in that folder
    task: str  # a registered task's name
    tokenizer: Tokenizer
    precision: str  # the graph set that runs; of several, their names joined by "+"
    backend: str  # what runs it
    opened: OpenGraphs  # its graphs
    graph_sets: dict[str, str] = field(default_factory=dict)  # graph -> the set that it runs from
    metrics: dict[str, float] = field(default_factory=dict)  # as measured after training
    bundle_sha256: str = ""  # the bundle's record's, which identifies it
    state_width: int = 0  # D; 0 for models without a state
    languages: Languages | None = None  # of a translator
    labels: tuple[str, ...] = ()  # of a classifier, by class

    @property
    def id(self) -> str:
        """What answers call the model: name/version."""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class Limit:
    """The longest text that a request's field may hold."""

    field: str
    tokens: int  # of each of its texts
    setting: str  # the variable that sets it, for the message


@dataclass(frozen=True)
class ServerTask:
    """What the server knows of a task beside its record in models.tasks; `create_app` takes further ones.

    A setting default_<name> is the model of requests that name none.
    """

    name: str  # of the record
    router: "Callable[[Service], APIRouter]"  # gives the routes
    engine: Callable[[LoadedModel, Settings, Observer], AnyEngine]  # gives a model's engine, not started
    limit: Callable[[Settings], Limit]  # gives the longest text that is admitted


class Endpoint:
    """One model that is served. Its engine's outputs go to the running event loop."""

    def __init__(self, model: LoadedModel, task: ServerTask, settings: Settings, metrics: Metrics) -> None:
        self.id = model.id
        self.model = model
        self.limit = task.limit(settings)
        self.limiter = Limiter(f"Model {model.id}", settings.max_requests)  # of its requests inside at once
        self.metrics = EngineMetrics(metrics, model.id)
        self.engine = task.engine(model, settings, self.metrics)
        self.engine.start(asyncio.get_running_loop())
        metrics.endpoints.append(self)

    @cached_property
    def token_texts(self) -> TokenTexts:
        """The texts of its tokens."""
        return TokenTexts(self.model.tokenizer.token_bytes)
