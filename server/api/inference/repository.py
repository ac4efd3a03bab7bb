"""/v2/repository: the models of the store, and loading and unloading them at run time, as Triton's model repository
extension has it. For operators: with `authorization: Bearer` and RNNSERVE_ADMIN_KEY.

A model is "name" (to load: the highest version in the store; to unload: all that are loaded) or "name/2".
"""

import hmac
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, RootModel
from starlette.responses import Response

from models.config import FrozenModel
from server.admission import asked_of
from server.api.description import ErrorText, described
from server.errors import FieldError, ForbiddenError, shown
from server.http.access import INFERENCE, JsonAnswer, PlainRoute, header_of
from server.service import Service

Asked = TypeVar("Asked", bound=BaseModel)
_PASSED_OVER = "unload_dependents"  # there are none


class IndexRequest(FrozenModel):
    """Which models to list."""

    ready: bool = Field(False, description="Only those that take requests.")


class IndexEntry(BaseModel):
    """A version of a model."""

    name: str
    version: str
    state: Literal["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]
    reason: str = Field(description="Why it is not ready.")


class IndexAnswer(RootModel[list[IndexEntry]]):
    """Every version in the store, and what is loaded beside, by name and version."""


class ChangeRequest(FrozenModel):
    """Load or unload a model; the body may be empty."""

    parameters: dict[str, Any] | None = Field(None, description=f"Only {_PASSED_OVER}, which has no effect.")


class ChangeAnswer(BaseModel):
    """Empty: it is done."""


def repository_router(service: Service) -> APIRouter:
    """The three routes."""
    router = APIRouter(tags=["inference"], prefix=f"{INFERENCE}/repository", route_class=PlainRoute)

    async def asked(request: Request, kind: type[Asked]) -> Asked:
        """An operator's request. Raises ApiError."""
        found = await asked_of(service, request, kind, "repository", no_body=b"{}")
        _check_operator(service, request)
        return found

    @router.post(
        "/index",
        summary="List the models of the store, loaded or not",
        **described(IndexRequest, IndexAnswer, {"ready": False}, statuses=(403,), error=ErrorText, is_required=False),
    )
    async def index(request: Request) -> Response:
        """Each version with its state; for operators."""
        wanted = await asked(request, IndexRequest)
        return JsonAnswer(
            [
                {"name": item.name, "version": str(item.version), "state": item.state, "reason": item.reason}
                for item in await service.repository.states()
                if item.state == "READY" or not wanted.ready
            ]
        )

    async def change(request: Request, work: Callable[[str], Awaitable[None]]) -> Response:
        found = await asked(request, ChangeRequest)
        for name, value in (found.parameters or {}).items():
            if name == _PASSED_OVER and not isinstance(value, bool):
                raise FieldError(f"{name}: must be true or false (got {shown(value)}).", param=name)
            if name != _PASSED_OVER:
                raise FieldError(
                    f"Parameter {shown(name)} is not offered: models are loaded as they were published.", param=name
                )
        await work(request.path_params["model"])
        return JsonAnswer({})

    @router.post(
        "/models/{model:path}/load",
        summary="Load a model of the store",
        **described(ChangeRequest, ChangeAnswer, {}, statuses=(403,), error=ErrorText, is_required=False),
    )
    async def load(request: Request) -> Response:
        """Answered when the model takes requests; at once where it is loaded. For operators."""
        return await change(request, service.repository.load)

    @router.post(
        "/models/{model:path}/unload",
        summary="Unload a model",
        **described(ChangeRequest, ChangeAnswer, {}, statuses=(403,), error=ErrorText, is_required=False),
    )
    async def unload(request: Request) -> Response:
        """Answered when the model's requests are answered, RNNSERVE_GRACE_SECONDS at most. For operators."""
        return await change(request, service.repository.unload)

    return router


def _check_operator(service: Service, request: Request) -> None:
    """Raises ForbiddenError."""
    key = service.settings.admin_key
    if key is None:
        raise ForbiddenError(
            "Models are listed, loaded and unloaded by operators alone, and this server has no key for them: set "
            "RNNSERVE_ADMIN_KEY, and send it as the header authorization: Bearer KEY."
        )
    given = header_of(request.scope, b"authorization") or ""
    if not hmac.compare_digest(given.encode(), b"Bearer " + key.get_secret_value().encode()):
        raise ForbiddenError(
            "Models are listed, loaded and unloaded by operators alone: send the header authorization: Bearer, and "
            "RNNSERVE_ADMIN_KEY."
        )
