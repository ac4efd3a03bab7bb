"""GET /v1/models."""

import time

from fastapi import APIRouter
from starlette.responses import Response

from server.contract.error import ErrorAnswer
from server.contract.models import LanguagePair, ModelCard, ModelList
from server.served_model import ServedModel, ServedSentiment, ServedTranslation
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
        """The models in the order of their names: what each is for, at which precision, and its measured figures."""
        cards = [
            ModelCard(
                id=item.model.name,
                created=created,
                version=item.model.version,
                task=item.task,
                languages=_languages(item),
                labels=item.model.labels if isinstance(item, ServedSentiment) else None,
                precision=item.model.precision,
                backend=item.model.backend,
                metrics=item.model.metrics,
            )
            for item in service.registry.by_name
        ]
        return JsonAnswer(ModelList(data=cards).model_dump(exclude_none=True))

    return router


def _languages(item: ServedModel) -> LanguagePair | None:
    if not isinstance(item, ServedTranslation):
        return None
    return LanguagePair(source=item.model.languages.source, target=item.model.languages.target)
