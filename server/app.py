"""The HTTP application: settings in, an ASGI app out. Nothing is read or loaded at import."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import cache
from importlib import metadata
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import HTMLResponse, Response
from starlette.routing import Match, Route

from server.api.completions import PATH as COMPLETIONS
from server.api.completions import completion_error
from server.api.docs import page
from server.api.hugging_face.error import hugging_face_error
from server.api.hugging_face.routes import hugging_face_router
from server.api.inference.repository import repository_router
from server.api.inference.routes import inference_error, inference_router
from server.api.libretranslate import PATHS as LIBRETRANSLATE
from server.api.libretranslate import languages_router, libretranslate_error
from server.api.models import models_router
from server.api.openapi import document
from server.api.operations import operations_router
from server.api.sessions import sessions_router
from server.api.text_embeddings_inference import PATHS as TEI_PATHS
from server.api.text_embeddings_inference import tei_error
from server.api.tokens import tokens_router
from server.endpoint import ServerTask
from server.errors import (
    ApiError,
    FieldError,
    InternalError,
    MethodNotAllowedError,
    RouteNotFoundError,
    nearest,
    shown,
)
from server.http.access import HUGGING_FACE, INFERENCE, TIME_HEADERS, Access, answer_error, json_of
from server.http.hosts import AllowedHosts
from server.loading import load_models
from server.page.routes import page_router
from server.repository import Loader
from server.service import Service
from server.settings import Settings
from server.tasks import TASKS


def create_app(
    settings: Settings | None = None, load: Loader = load_models, tasks: Iterable[ServerTask] = ()
) -> FastAPI:
    """The app. Its models are loaded when it starts; until then it answers 503.

    Args:
        settings: by default those of the environment.
        load: gives the models.
        tasks: further ones beside those of server.tasks; their records are registered in models.tasks.

    Returns:
        An app whose `state.service` is its Service.
    """
    service = Service(settings or Settings(), load, (*TASKS, *tasks))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="rnnserve",
        summary="Recurrent networks over REST",
        version=_version(),
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # the framework's page loads its script from the network
        redoc_url=None,
        openapi_url=None,
        exception_handlers={ApiError: answer_error, HTTPException: _answer_http_error},
    )
    app.state.service = service
    openai = dict.fromkeys((COMPLETIONS, "/tokenize", "/detokenize"), completion_error)
    app.state.error_shapes = {  # of a path, or of all below one that ends with "/"
        f"{INFERENCE}/": inference_error,
        HUGGING_FACE: hugging_face_error,
        "/": hugging_face_error,  # what is posted there
        **dict.fromkeys(TEI_PATHS, tei_error),
        **dict.fromkeys(LIBRETRANSLATE, libretranslate_error),
        **openai,
    }
    for task in service.tasks.values():
        if task.router is not None:
            routes = task.router(service).routes
            app.router.routes.extend(routes)  # included routers are searched anew for each request
            service.task_of_path |= {str(getattr(route, "path", "")): task.name for route in routes}
    for router in (
        sessions_router,
        models_router,
        tokens_router,
        languages_router,
        operations_router,
        hugging_face_router,
    ):
        app.router.routes.extend(router(service).routes)
    app.router.routes.extend(inference_router(service, _version()).routes)
    app.router.routes.extend(repository_router(service).routes)
    app.router.routes.extend(page_router().routes)
    keys = [key.get_secret_value() for key in service.settings.api_keys]
    admin_key = service.settings.admin_key
    if keys and admin_key is not None:  # operators need no second one
        keys.append(admin_key.get_secret_value())
    app.add_middleware(
        Access,
        metrics=service.metrics,
        check_room=service.check_room,
        limiter=service.limiter,
        bodies=service.bodies,
        keys=keys,
        origins=service.settings.cors_origins,
        refusal_seconds=service.settings.refusal_seconds,
        hosts=AllowedHosts(service.settings.host, service.settings.allowed_hosts or (("*",) if keys else ())),
        root_path=service.settings.root_path,
    )
    if service.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "retry-after", *TIME_HEADERS],
        )

    def openapi_of_routes() -> dict[str, Any]:
        info = {"title": app.title, "summary": app.summary or "", "version": app.version}
        return document(
            app.routes, info, app.state.error_shapes, root_path=service.settings.root_path, has_keys=bool(keys)
        )

    app.openapi = openapi_of_routes  # type: ignore[method-assign]

    @cache
    def described() -> tuple[bytes, str, dict[str, str]]:  # made once: it takes a while
        found = app.openapi()
        return json_of(found), *page(found)

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> Response:
        content, _, _ = await asyncio.to_thread(described)
        return Response(content, media_type="application/json")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        _, html, headers = await asyncio.to_thread(described)
        return HTMLResponse(html, headers=headers)

    return app


async def _answer_http_error(request: Request, error: Exception) -> Response:
    """What the framework itself refuses, in our words."""
    assert isinstance(error, HTTPException)
    path, method = shown(request.scope["path"]), request.scope["method"]
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    if error.status_code == 404 and (request.scope["path"], method) == ("*", "OPTIONS"):  # of the server as a whole
        return Response(status_code=204, headers={"allow": _allowed(routes)})
    if error.status_code == 404:
        hint = nearest(request.scope["path"], (route.path_format for route in routes))
        message = f"Path {path} not found.{hint} See /docs for those there are."
        return await answer_error(request, RouteNotFoundError(message))
    if error.status_code == 405:
        allowed = _allowed(route for route in routes if route.matches(request.scope)[0] is not Match.NONE)
        if method == "OPTIONS":
            return Response(status_code=204, headers={"allow": allowed})
        message = f"Path {path} does not take {shown(method)}. Allowed: {allowed}."
        return await answer_error(request, MethodNotAllowedError(message, headers={"allow": allowed}))
    if error.status_code < 500:
        return await answer_error(request, FieldError(shown(error.detail)))
    return await answer_error(request, InternalError())


def _allowed(routes: Iterable[Route]) -> str:
    """The methods that routes take, for the header Allow."""
    methods = {method for route in routes for method in route.methods or ()}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set()) | {"OPTIONS"}))


def _version() -> str:
    try:
        return metadata.version("rnnserve")
    except metadata.PackageNotFoundError:
        return "0"
