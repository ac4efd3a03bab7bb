"""/v1/sessions: make, look at, fork, rewind, move and remove sessions of models with a state.

A session that names no model is one of text generation.
"""

import hmac
import math
import re
from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from models.config import FrozenModel
from models.tasks import task_of
from server.admission import asked_of, working
from server.api.description import BYTES, described
from server.api.generate import TASK as GENERATION
from server.endpoint import LoadedModel
from server.engine.generation.request import Generation
from server.engine.sequence.request import FramesRequest
from server.errors import FieldError, ForbiddenError, ModelNotFoundError, RouteNotFoundError, shown
from server.http.access import JsonAnswer, record_of
from server.http.body import Asked, read_body
from server.service import Service
from server.sessions.frames import row_from_frames
from server.sessions.point import Point, reading, state_of
from server.sessions.state import ID_PATTERN
from server.sessions.store import Session
from server.settings import MOST_TTL_SECONDS


class CreateSessionRequest(FrozenModel):
    """Begin a session."""

    model: str | None = Field(None, description='"name" (highest version) or "name/2".')
    ttl_seconds: int | None = Field(
        None, ge=1, le=MOST_TTL_SECONDS, description="How long it is kept unused; RNNSERVE_SESSION_TTL_SECONDS."
    )


class ForkSessionRequest(FrozenModel):
    """Nothing can be asked for; the body may be left out."""


class RewindSessionRequest(FrozenModel):
    """Go back."""

    to: int = Field(ge=0, description="Tokens, or frames, to keep, from the first.")


class SessionAnswer(BaseModel):
    """One session."""

    id: str
    model: str = Field(description="name/version of the model that it belongs to.")
    tokens: int = Field(
        description="Tokens so far, of prompts and answers; of a model of frames, or a forecaster, what it has read."
    )
    expires: int = Field(description="When it goes if it is not used, seconds since 1970.")


class SessionList(BaseModel):
    """The sessions that are kept, the last used first."""

    object: Literal["list"] = "list"
    data: list[SessionAnswer]


class DeletedSession(BaseModel):
    """A session that is no more."""

    id: str
    deleted: Literal[True] = True


_ID = re.compile(ID_PATTERN)
_BINARY = {BYTES: {"type": "string", "format": "binary"}}
_STATUSES = (404, 409, 410)


def sessions_router(service: Service) -> APIRouter:
    """The routes of sessions."""
    router = APIRouter(tags=["sessions"], prefix="/v1/sessions")
    sessions = service.sessions

    def noted(request: Request) -> None:
        record_of(request).task = "session"
        service.check_ready()

    async def body_of(request: Request, kind: type[Asked]) -> Asked:
        """The body, which may be left out where nothing is required."""
        noted(request)
        return await asked_of(service, request, kind, "session", no_body=b"{}")

    @router.post(
        "",
        summary="Begin a session",
        **described(CreateSessionRequest, SessionAnswer, {"ttl_seconds": 600}, is_required=False),
    )
    async def create(request: Request) -> Response:
        """Name it in `session` of /v1/generate or /v1/forecast, or in the parameters of /v2/models/NAME/infer of a
        sequence model: each call goes on where the one before has ended.
        """
        asked = await body_of(request, CreateSessionRequest)
        model = _model_of(service, asked.model)
        record_of(request).model = model.id
        return _answer(sessions.create(model, asked.ttl_seconds, record_of(request).client))

    @router.get("", summary="List the sessions", **described(None, SessionList, statuses=(404,)))
    async def all_sessions(request: Request) -> Response:
        """For operators: with `authorization: Bearer` and RNNSERVE_ADMIN_KEY; without that setting 404."""
        service.check_ready()
        _check_admin(service, request)
        answer = SessionList(data=[_described(session) for session in sessions.all()])
        return JsonAnswer(answer.model_dump())

    @router.get("/{session_id}", summary="Look at a session", **described(None, SessionAnswer, statuses=_STATUSES))
    async def look(session_id: str) -> Response:
        """Looking is no use of it: it expires as before."""
        service.check_ready()
        return _answer(sessions.find(session_id))

    @router.delete("/{session_id}", summary="Remove a session", **described(None, DeletedSession, statuses=_STATUSES))
    async def delete(request: Request, session_id: str) -> Response:
        noted(request)
        sessions.remove(session_id)
        return JsonAnswer(DeletedSession(id=session_id).model_dump())

    @router.post(
        "/{session_id}/fork",
        summary="Begin a session where another stands",
        **described(ForkSessionRequest, SessionAnswer, statuses=_STATUSES, is_required=False),
    )
    async def fork(request: Request, session_id: str) -> Response:
        """Both go on from here, each for itself."""
        await body_of(request, ForkSessionRequest)
        return _answer(sessions.fork(session_id, record_of(request).client))

    @router.post(
        "/{session_id}/rewind",
        summary="Go back in a session",
        **described(RewindSessionRequest, SessionAnswer, {"to": 12}, statuses=(409, 410)),
    )
    async def rewind(request: Request, session_id: str) -> Response:
        """The session is as it was after its first `to` tokens; what is kept may be read again for that."""
        asked = await body_of(request, RewindSessionRequest)
        with sessions.using(session_id) as session:
            record_of(request).model = session.model
            sessions.finish(session, await _rewound(service, request, session, asked.to))
            return _answer(session)

    @router.get(
        "/{session_id}/state",
        summary="Take a session's state away",
        **described(None, None, statuses=_STATUSES, answers=_BINARY),
    )
    async def state(request: Request, session_id: str) -> Response:
        """Bytes that a server with the same model and key can continue. Signed, not secret: they hold the text."""
        noted(request)
        return Response(await service.in_turn(lambda: sessions.state(session_id)), media_type=BYTES)

    @router.put(
        "/{session_id}/state",
        summary="Go on with a session's state",
        **described(None, SessionAnswer, statuses=_STATUSES, raw=_BINARY),
    )
    async def put_state(request: Request, session_id: str) -> Response:
        """The body is what GET gave for this id, here or on another server. A session of the id is replaced."""
        noted(request)
        content = await read_body(request, service.settings, service.bodies)
        if not _ID.fullmatch(session_id):
            raise FieldError(
                f"session: an id has 1 to 64 letters, digits, - or _ (got {shown(session_id)}).", param="session"
            )
        service.check_ready()
        client = record_of(request).client
        return _answer(await service.in_turn(lambda: sessions.put_state(session_id, content, client)))

    return router


def _model_of(service: Service, name: str | None) -> LoadedModel:
    """The model that a new session belongs to. Raises ModelNotFoundError, FieldError."""
    endpoint = None if name is None else service.registry.get(name)
    if endpoint is None or not endpoint.model.state_width or task_of(endpoint.model.task).session != "frames":
        return service.registry.find(GENERATION, name).model
    return endpoint.model


async def _rewound(service: Service, request: Request, session: Session, to: int) -> Point:
    """The point after the first tokens of a session. Raises ApiError."""
    point = session.point
    if to > len(point.tokens):
        unit = "tokens" if point.num_pending else "frames"
        raise FieldError(f"to: the session has {len(point.tokens)} {unit}, fewer than {to}.", param="to")
    if to == len(point.tokens):
        return point
    num_read = max(to - point.num_pending, 0)
    known = point.nearest(num_read)
    if known.num_read >= num_read:
        return point.rewound(to, known.row)
    endpoint = service.registry.get(session.model)
    if endpoint is None:
        raise ModelNotFoundError(f"Model {session.model} of the session is not loaded; load it, and try again.")
    signature = endpoint.model.signature
    if signature is not None:
        row = row_from_frames(signature, point.tokens[known.num_read : to])

        async def frames(_: Callable[[int], None]) -> FramesRequest:
            work = FramesRequest(keeps_state=True)
            work.add_row(row, to - known.num_read, known.row)
            return work

        async with working(service, endpoint, request, frames) as work:
            (output,) = await work.outputs.get()
            return point.rewound(to, output.state)

    async def prepare(_: Callable[[int], None]) -> Generation:
        return reading(endpoint.token_texts, point.tokens[:to], known)

    async with working(service, endpoint, request, prepare) as generation:
        await generation.outputs.get()
        return point.rewound(to, state_of(generation, point))


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


def _described(session: Session) -> SessionAnswer:
    return SessionAnswer(
        id=session.id, model=session.model, tokens=len(session.point.tokens), expires=math.ceil(session.expires_at)
    )


def _answer(session: Session) -> JsonAnswer:
    return JsonAnswer(_described(session).model_dump())
