"""What an orchestrator and a dashboard ask for."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.responses import Response

from server.api.description import described
from server.errors import EngineError, UnavailableError
from server.http.access import JsonAnswer
from server.service import Service

_TEXT = {"text/plain": {"type": "string", "description": "Prometheus' text format."}}

_NAMES = {
    "name": "name[]",
    "in": "query",
    "description": "These time series alone.",
    "schema": {"type": "array", "items": {"type": "string"}},
}


class Alive(BaseModel):
    """The process should go on."""

    status: Literal["alive"]


class Ready(BaseModel):
    """Requests are taken."""

    status: Literal["ready"]


class Health(BaseModel):
    """Requests are taken, by these models."""

    status: Literal["ready"]
    models: list[str] = Field(description="name/version of each.")


def operations_router(service: Service) -> APIRouter:
    """Liveness, readiness, health and metrics."""
    router = APIRouter(tags=["operations"])

    @router.get("/livez", summary="Whether the process should go on", **described(None, Alive))
    async def livez() -> Response:
        if not service.is_alive:
            raise EngineError(_ended(service))
        return JsonAnswer({"status": "alive"})

    @router.get("/readyz", summary="Whether requests are taken", **described(None, Ready))
    async def readyz() -> Response:
        service.check_ready()
        _check_alive(service)
        return JsonAnswer({"status": "ready"})

    @router.get("/health", summary="Readiness, and the models served", **described(None, Health))
    async def health() -> Response:
        _check_alive(service)
        return JsonAnswer({"status": "ready", "models": [item.id for item in service.registry.models]})

    @router.get("/metrics", summary="Prometheus metrics", **described(None, None, answers=_TEXT, parameters=[_NAMES]))
    async def metrics(
        names: Annotated[list[str] | None, Query(alias="name[]", description="These time series alone.")] = None,
    ) -> Response:
        """All, or with `name[]` some: reading few takes a tenth of the time."""
        registry = service.metrics.registry
        chosen = registry if names is None else registry.restricted_registry(names)
        text = await service.in_turn(lambda: generate_latest(chosen))
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router


def _check_alive(service: Service) -> None:
    """Raises UnavailableError."""
    if not service.is_alive:
        raise UnavailableError(_ended(service), code="engine_failed")


def _ended(service: Service) -> str:
    names = ", ".join(service.dead_models)
    return f"The engine of {names} has ended or does not go on; the server ends. Its log says more."
