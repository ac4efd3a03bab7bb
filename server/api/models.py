"""GET /v1/models."""

import time
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from models.tasks import TaskName
from server.api.description import ErrorAnswer
from server.endpoint import Endpoint
from server.http.access import JsonAnswer
from server.service import Service


class LanguagePair(BaseModel):
    """What a translation model translates, as ISO 639-1 codes."""

    source: str
    target: str


class ModelCard(BaseModel):
    """One model name."""

    id: Annotated[str, Field(description="The bare name, as in the store.")]
    object: Literal["model"] = "model"
    created: Annotated[int, Field(description="When it was loaded, seconds since 1970.")]
    owned_by: str = "rnnserve"
    version: Annotated[int, Field(description="The version that the name means.")]
    task: TaskName
    languages: Annotated[LanguagePair | None, Field(description="Of a translation model; others have none.")] = None
    labels: Annotated[list[str] | None, Field(description="Of a sentiment model; others have none.")] = None
    precision: Annotated[str, Field(description='The graph set in use; of several, their names joined by "+".')]
    graph_sets: Annotated[dict[str, str], Field(description="Of each graph, the set that it runs from.")]
    backend: Annotated[str, Field(description="What runs it.")]
    metrics: Annotated[dict[str, float], Field(description="As measured after training.")]


class ModelList(BaseModel):
    """The models that are endpoint."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


def models_router(service: Service) -> APIRouter:
    """The route that lists the models."""
    router = APIRouter(tags=["models"])
    created = int(time.time())

    @router.get(
        "/v1/models", summary="List the models", responses={200: {"model": ModelList}, 503: {"model": ErrorAnswer}}
    )
    async def models() -> Response:
        """The models in the order of their names: what each is for, at which precision, and its measured figures."""
        cards = [
            ModelCard(
                id=item.info.name,
                created=created,
                version=item.info.version,
                task=item.info.task,
                languages=_languages(item),
                labels=list(item.info.labels) or None,
                precision=item.info.precision,
                graph_sets=item.info.graph_sets,
                backend=item.info.backend,
                metrics=item.info.metrics,
            )
            for item in service.registry.by_name
        ]
        return JsonAnswer(ModelList(data=cards).model_dump(exclude_none=True))

    return router


def _languages(item: Endpoint) -> LanguagePair | None:
    languages = item.info.languages
    return None if languages is None else LanguagePair(source=languages.source, target=languages.target)
