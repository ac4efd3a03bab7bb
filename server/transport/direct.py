"""The shortest way to the endpoints that are asked thousands of times a second."""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import ApiError
from server.transport.access import answer_error

Endpoint = Callable[[Request], Awaitable[Response]]


class DirectApp(FastAPI):
    """A framework's app of which some endpoints are called without the framework.

    Such an endpoint reads its request and makes its answer by itself, so what the framework does around it (its own
    middleware, finding the route, arguments, dependencies, background tasks) finds nothing to do, and takes as long as
    the endpoint. The routes are the framework's all the same: it describes them, and answers other methods. Middleware
    given to `add_middleware` is not around these endpoints; what is to be goes to `call_directly`.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._direct: ASGIApp
        self._direct_paths: frozenset[str] = frozenset()

    def call_directly(self, routes: list[APIRoute], around: Callable[[ASGIApp], ASGIApp]) -> None:
        """Call the endpoints of some routes for POST requests directly.

        Args:
            routes: each has a path of its own, without parameters.
            around: the middleware that they have nevertheless.
        """
        self._direct = around(_Endpoints({route.path: route.endpoint for route in routes}))
        self._direct_paths = frozenset(route.path for route in routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in self._direct_paths:
            await self._direct(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class _Endpoints:
    """Calls endpoints, by path."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await self._endpoints[scope["path"]](request)
        except ApiError as error:
            answer = await answer_error(request, error)
        await answer(scope, receive, send)
