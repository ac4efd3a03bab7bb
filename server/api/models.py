"""GET /v1/models, and /v1/models/NAME."""

import time
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from models.bundle import Languages
from models.tasks import TaskName
from server.api.description import described
from server.endpoint import LoadedModel
from server.errors import ModelNotFoundError, nearest, shown
from server.http.access import JsonAnswer
from server.service import Service


class ModelCard(BaseModel):
    """One model name."""

    id: str = Field(description="The bare name, as in the store.")
    object: Literal["model"] = "model"
    created: int = Field(description="When it was loaded, seconds since 1970.")
    owned_by: str = "rnnserve"
    version: int = Field(description="The version that the name means.")
    task: TaskName
    languages: Languages | None = Field(None, description="Of a translation model; others have none.")
    labels: list[str] | None = Field(None, description="Of a sentiment or tagging model; others have none.")
    precision: str = Field(description='The graph set in use; of several, their names joined by "+".')
    graph_sets: dict[str, str] = Field(description="Of each graph, the set that it runs from.")
    backend: str = Field(description="What runs it.")
    metrics: dict[str, float] = Field(description="As measured after training.")


class ModelList(BaseModel):
    """The models that are served."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


def models_router(service: Service) -> APIRouter:
    """The routes that describe models."""
    router = APIRouter(tags=["models"])
    created = int(time.time())

    @router.get("/v1/models", summary="List the models", **described(None, ModelList))
    async def models() -> Response:
        """The models in the order of their names: what each is for, at which precision, and its measured figures."""
        return JsonAnswer({"object": "list", "data": [_card(item.model, created) for item in service.registry.by_name]})

    @router.get("/v1/models/{model:path}", summary="One model", **described(None, ModelCard, statuses=(404,)))
    async def one(model: str) -> Response:
        """The same of one: name, or name/version."""
        found = service.registry.get(model)
        if found is None:
            loaded = ", ".join(item.id for item in service.registry.models)
            hint = nearest(model, (item.id for item in service.registry.models))
            raise ModelNotFoundError(f"Model {shown(model)} not found.{hint} Loaded models: {loaded}.", param="model")
        return JsonAnswer(_card(found.model, created))

    return router


def _card(model: LoadedModel, created: int) -> dict[str, Any]:
    """A ModelCard."""
    found = ModelCard(
        id=model.name,
        created=created,
        version=model.version,
        task=model.task,
        languages=model.languages,
        labels=list(model.labels) or None,
        precision=model.precision,
        graph_sets=model.graph_sets,
        backend=model.backend,
        metrics=model.metrics,
    )
    return found.model_dump(exclude_none=True)
