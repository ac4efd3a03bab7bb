"""/v1/sessions: make, look at, fork, rewind, move and remove sessions of text generation."""

import math
import re
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from server.admission import working
from server.contract.error import ErrorAnswer
from server.contract.sessions import (
    CreateSessionRequest,
    DeletedSession,
    ForkSessionRequest,
    RewindSessionRequest,
    SessionAnswer,
    SessionList,
)
from server.contract.validation import request_from
from server.engine.generation.request import Generation
from server.errors import FieldError, shown
from server.routes.description import described
from server.served_model import ServedGeneration
from server.service import Service
from server.sessions.files import ID_PATTERN
from server.sessions.point import Point
from server.sessions.reading import reading, state_of
from server.sessions.sessions import SessionUse
from server.sessions.store import Session
from server.transport.access import Record, record_of
from server.transport.answers import JsonAnswer
from server.transport.body import read_body

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
        served = service.registry.find(ServedGeneration, asked.model)
        record.model = served.id
        return _answer(sessions.create(served, asked.ttl_seconds))

    @router.get("", summary="List the sessions", responses={200: {"model": SessionList}, 503: {"model": ErrorAnswer}})
    async def all_sessions() -> Response:
        service.check_ready()
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
            use.finish(await _rewound(service, request, record, use, asked.to))
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


async def _rewound(service: Service, request: Request, record: Record, use: SessionUse, to: int) -> Point:
    """The point after the first tokens of a session. Raises ApiError."""
    point = use.point
    if to > len(point.tokens):
        raise FieldError(f"to: the session has {len(point.tokens)} tokens, fewer than {to}.", param="to")
    if to == len(point.tokens):
        return point
    known = point.nearest(max(to - 1, 0))
    if known.num_read >= to - 1:
        return point.rewound(to, known.row)
    served = service.registry.find(ServedGeneration, use.session.model)

    async def prepare() -> Generation:
        return reading(served, point.tokens[:to], known.row, known.num_read)

    async with working(service, served, request, record, prepare) as generation:
        await generation.outputs.get()
        return point.rewound(to, state_of(served, generation))


def _described(session: Session[Point]) -> SessionAnswer:
    return SessionAnswer(
        id=session.id, model=session.model, tokens=len(session.held.tokens), expires=math.ceil(session.expires)
    )


def _answer(session: Session[Point]) -> JsonAnswer:
    return JsonAnswer(_described(session).model_dump())
