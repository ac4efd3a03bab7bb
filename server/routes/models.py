"""GET /v1/models."""

import time

from fastapi import APIRouter
from starlette.responses import Response

from server.contract.error import ErrorAnswer
from server.contract.models import ModelCard, ModelList
from server.service import Service
from server.transport.answers import JsonAnswer


def models_router(service: Service) -> APIRouter:
    """The route that lists what is served."""
    router = APIRouter(tags=["models"])
    created = int(time.time())

    @router.get(
        "/v1/models", summary="List the models", responses={200: {"model": ModelList}, 503: {"model": ErrorAnswer}}
    )
    async def models() -> Response:
        cards = [
            ModelCard(
                id=item.model.name,
                created=created,
                version=item.model.version,
                task=item.model.task,
                precision=item.model.precision,
                backend=item.model.backend,
                metrics=item.model.metrics,
            )
            for item in service.registry.by_name
        ]
        return JsonAnswer(ModelList(data=cards).model_dump())

    return router
