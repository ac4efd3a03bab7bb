"""/v1/sessions: make, look at, fork, rewind, move and remove sessions of text generation."""

import hmac
import math
import re
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from models.config import FrozenModel
from server.admission import working
from server.api.description import ErrorAnswer, described
from server.api.validation import request_from
from server.engine.generation.request import Generation
from server.errors import FieldError, ForbiddenError, RouteNotFoundError, shown
from server.http.access import JsonAnswer, Record, record_of
from server.http.body import read_body
from server.service import Service
from server.sessions.files import ID_PATTERN
from server.sessions.point import Point
from server.sessions.reading import reading, state_of
from server.sessions.sessions import SessionUse
from server.sessions.store import Session
from server.settings import MOST_TTL_SECONDS


class CreateSessionRequest(FrozenModel):
    """Begin a session."""

    model: Annotated[str | None, Field(description='"name" (highest version) or "name/2".')] = None
    ttl_seconds: Annotated[
        int | None,
        Field(ge=1, le=MOST_TTL_SECONDS, description="How long it is kept unused; RNNSERVE_SESSION_TTL_SECONDS."),
    ] = None


class ForkSessionRequest(FrozenModel):
    """Nothing can be asked for; the body may be left out."""


class RewindSessionRequest(FrozenModel):
    """Go back."""

    to: Annotated[int, Field(ge=0, description="Tokens to keep, from the first.")]


class SessionAnswer(BaseModel):
    """One session."""

    id: str
    model: Annotated[str, Field(description="name/version of the model that it belongs to.")]
    tokens: Annotated[int, Field(description="Tokens so far, of prompts and answers.")]
    expires: Annotated[int, Field(description="When it goes if it is not used, seconds since 1970.")]


class SessionList(BaseModel):
    """The sessions that are kept, the last used first."""

    object: Literal["list"] = "list"
    data: list[SessionAnswer]


class DeletedSession(BaseModel):
    """A session that is no more."""

    id: str
    deleted: Literal[True] = True


_ID = re.compile(ID_PATTERN)
_BYTES = "application/octet-stream"
_ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorAnswer} for status in (404, 409, 503)}
_BINARY = {"content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}}

Asked = TypeVar("Asked", bound=BaseModel)


def sessions_router(service: Service) -> APIRouter:
    """The routes of sessions."""
    router = APIRouter(tags=["sessions"], prefix="/v1/sessions")
    sessions = service.sessions

    async def asked_of(kind: type[Asked], request: Request) -> Asked:
        """The body; none is as {}. While it came the server may have begun to drain: then 503."""
        body = await read_body(request.scope["headers"], request.receive, service.settings)
        service.check_ready()
        return request_from(kind, body or b"{}")

    def noted(request: Request) -> Record:
        record = record_of(request)
        record.task = "session"
        service.check_ready()
        return record

    @router.post(
        "",
        summary="Begin a session",
        **described(CreateSessionRequest, SessionAnswer, {"ttl_seconds": 600}),
    )
    async def create(request: Request) -> Response:
        """Name it in `session` of /v1/generate: each call goes on where the one before has ended."""
        record = noted(request)
        asked = await asked_of(CreateSessionRequest, request)
        endpoint = service.registry.find("generation", asked.model)
        record.model = endpoint.id
        return _answer(sessions.create(endpoint, asked.ttl_seconds))

    @router.get("", summary="List the sessions", responses={200: {"model": SessionList}, 503: {"model": ErrorAnswer}})
    async def all_sessions(request: Request) -> Response:
        """For operators: with `authorization: Bearer` and RNNSERVE_ADMIN_KEY; without that setting 404."""
        service.check_ready()
        _check_admin(service, request)
        answer = SessionList(data=[_described(session) for session in sessions.all()])
        return JsonAnswer(answer.model_dump())

    @router.get("/{session_id}", summary="Look at a session", responses={200: {"model": SessionAnswer}, **_ERRORS})
    async def look(session_id: str) -> Response:
        """Looking is no use of it: it expires as before."""
        service.check_ready()
        return _answer(sessions.find(session_id))

    @router.delete("/{session_id}", summary="Remove a session", responses={200: {"model": DeletedSession}, **_ERRORS})
    async def delete(request: Request, session_id: str) -> Response:
        noted(request)
        sessions.delete(session_id)
        return JsonAnswer(DeletedSession(id=session_id).model_dump())

    @router.post(
        "/{session_id}/fork",
        summary="Begin a session where another stands",
        responses={200: {"model": SessionAnswer}, **_ERRORS},
    )
    async def fork(request: Request, session_id: str) -> Response:
        """Both go on from here, each for itself."""
        noted(request)
        await asked_of(ForkSessionRequest, request)
        return _answer(sessions.fork(session_id))

    @router.post(
        "/{session_id}/rewind",
        summary="Go back in a session",
        **described(RewindSessionRequest, SessionAnswer, {"to": 12}, statuses=(409,)),
    )
    async def rewind(request: Request, session_id: str) -> Response:
        """The session is as it was after its first `to` tokens; what is kept may be read again for that."""
        record = noted(request)
        asked = await asked_of(RewindSessionRequest, request)
        with sessions.using(session_id) as use:
            record.model = use.session.model
            use.finish(await _rewound(service, request, use, asked.to))
            return _answer(use.session)

    @router.get(
        "/{session_id}/state",
        summary="Take a session's state away",
        response_class=Response,
        responses={200: _BINARY, **_ERRORS},
    )
    async def state(request: Request, session_id: str) -> Response:
        """Bytes that a server with the same model and key can continue. Signed, not secret: they hold the text."""
        noted(request)
        return Response(sessions.state(session_id), media_type=_BYTES)

    @router.put(
        "/{session_id}/state",
        summary="Go on with a session's state",
        responses={200: {"model": SessionAnswer}, **_ERRORS, 413: {"model": ErrorAnswer}, 422: {"model": ErrorAnswer}},
        openapi_extra={"requestBody": {"required": True, **_BINARY}},
    )
    async def put_state(request: Request, session_id: str) -> Response:
        """The body is what GET gave, here or on another server. A session of that id is replaced."""
        noted(request)
        content = await read_body(request.scope["headers"], request.receive, service.settings)
        if not _ID.fullmatch(session_id):
            raise FieldError(
                f"session: an id has 1 to 64 letters, digits, - or _ (got {shown(session_id)}).", param="session"
            )
        service.check_ready()
        return _answer(sessions.put_state(session_id, content))

    return router


async def _rewound(service: Service, request: Request, use: SessionUse, to: int) -> Point:
    """The point after the first tokens of a session. Raises ApiError."""
    point = use.point
    if to > len(point.tokens):
        raise FieldError(f"to: the session has {len(point.tokens)} tokens, fewer than {to}.", param="to")
    if to == len(point.tokens):
        return point
    known = point.nearest(max(to - 1, 0))
    if known.num_read >= to - 1:
        return point.rewound(to, known.row)
    endpoint = service.registry.find("generation", use.session.model)

    async def prepare() -> Generation:
        return reading(endpoint, point.tokens[:to], known.row, known.num_read)

    async with working(service, endpoint, request, prepare) as generation:
        await generation.outputs.get()
        return point.rewound(to, state_of(endpoint, generation))


def _check_admin(service: Service, request: Request) -> None:
    """Raises RouteNotFoundError where there is no admin key, ForbiddenError for another one."""
    key = service.settings.admin_key
    if key is None:
        raise RouteNotFoundError(
            "Sessions are not listed: their ids are all it takes to use them. For operators: set RNNSERVE_ADMIN_KEY."
        )
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), key.get_secret_value().encode()):
        raise ForbiddenError("Listing sessions needs the header authorization: Bearer, and RNNSERVE_ADMIN_KEY.")


def _described(session: Session[Point]) -> SessionAnswer:
    return SessionAnswer(
        id=session.id, model=session.model, tokens=len(session.held.tokens), expires=math.ceil(session.expires)
    )


def _answer(session: Session[Point]) -> JsonAnswer:
    return JsonAnswer(_described(session).model_dump())
