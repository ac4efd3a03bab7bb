"""/v1/sessions, on the wire."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from models.config import FrozenModel
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
