"""What the server knows of a task beside its record in models.tasks: how it is asked, and what computes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import APIRouter

from server.engine.engine import AnyEngine
from server.engine.lane import Observer
from server.model import LoadedModel
from server.settings import Settings

if TYPE_CHECKING:
    from server.service import Service


@dataclass(frozen=True)
class Limit:
    """The longest text that a field may hold.

    Attributes:
        field: the request's field.
        tokens: of each of its texts.
        setting: the variable that sets it, for the message.
    """

    field: str
    tokens: int
    setting: str


@dataclass(frozen=True)
class ServerTask:
    """One task of the server; `create_app` takes further ones.

    Attributes:
        name: of the task's record in models.tasks.
        router: gives the task's routes.
        engine: gives a model's engine, not started.
        max_length: the longest text that is admitted; None where a graph's length does not matter.
        default_model: the model of requests that name none, when several are loaded; None: no such setting.
    """

    name: str
    router: "Callable[[Service], APIRouter]"
    engine: Callable[[LoadedModel, Settings, Observer], AnyEngine]
    max_length: Callable[[Settings], Limit] | None = None
    default_model: Callable[[Settings], str | None] = lambda _: None
