"""GET / and /page/NAME: the page for people. It knows nothing about models: it asks the same paths as every client."""

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from server.errors import RouteNotFoundError, shown
from server.http.access import PlainRoute

FOLDER = Path(__file__).parent / "assets"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Nothing from elsewhere, no script or style inside the HTML, and no text that becomes HTML.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "cache-control": "no-cache",  # kept, and asked for again by its ETag
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Asset(NamedTuple):
    """One file of the page."""

    content: bytes
    media_type: str
    etag: str


def page_router() -> APIRouter:
    """The routes. The files, 125 kB, are read now and kept."""
    assets = {path.name: _asset(path) for path in sorted(FOLDER.iterdir()) if path.suffix in _TYPES}
    router = APIRouter(route_class=PlainRoute, include_in_schema=False)

    @router.get("/")
    async def index(request: Request) -> Response:
        return _answer(request, assets["index.html"])

    @router.get("/favicon.ico")  # asked for by browsers whatever a page says
    async def icon(request: Request) -> Response:
        return _answer(request, assets["icon.svg"])

    @router.get("/page/{name}")
    async def asset(request: Request) -> Response:
        found = assets.get(request.path_params["name"])
        if found is None:
            raise RouteNotFoundError(f"Path {shown(request.url.path)} not found. The page is at /.")
        return _answer(request, found)

    return router


def _asset(path: Path) -> Asset:
    content = path.read_bytes()
    return Asset(content, _TYPES[path.suffix], f'"{sha256(content).hexdigest()[:32]}"')


def _answer(request: Request, asset: Asset) -> Response:
    """The file, or 304 where the client has it."""
    headers = {**_HEADERS, "etag": asset.etag}
    known = request.headers.get("if-none-match", "")
    if known == "*" or asset.etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]:
        return Response(status_code=304, headers=headers)
    return Response(asset.content, media_type=asset.media_type, headers=headers)
