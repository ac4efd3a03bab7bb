"""The shortest way to the endpoints that are asked thousands of times a second."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType

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

    _direct: Mapping[str, ASGIApp] = MappingProxyType({})  # by path

    def call_directly(self, routes: Iterable[APIRoute], around: Callable[[ASGIApp], ASGIApp]) -> None:
        """Call the endpoints of some routes for POST requests directly.

        Args:
            routes: each has a path of its own, without parameters.
            around: the middleware that they have nevertheless.
        """
        self._direct = {route.path: around(_answering(route.endpoint)) for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        direct = self._direct.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        await (direct or super().__call__)(scope, receive, send)


def _answering(endpoint: Endpoint) -> ASGIApp:
    """An app that sends what an endpoint gives, or the answer to the error that it raises."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            answer = await endpoint(request)
        except ApiError as error:
            answer = await answer_error(request, error)
        await answer(scope, receive, send)

    return app
