"""The shortest way to the endpoints that are asked thousands of times a second."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from server.errors import ApiError
from server.transport.access import answer_error

Endpoint = Callable[[Request], Awaitable[Response]]


class Direct:
    """ASGI middleware, the innermost of ours: calls some endpoints itself.

    Such an endpoint reads its request and makes its answer by itself, so what the framework does around it (finding
    the route, arguments, dependencies, background tasks) finds nothing to do, and takes as long as the endpoint. The
    routes are the framework's all the same: it describes them, and answers other methods.

    Args:
        app: what answers everything else.
        endpoints: of POST requests, by path.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        endpoint = self._endpoints.get(scope["path"]) if scope["type"] == "http" else None
        if endpoint is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            answer = await endpoint(request)
        except ApiError as error:
            answer = await answer_error(request, error)
        await answer(scope, receive, send)
