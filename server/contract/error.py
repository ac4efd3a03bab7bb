"""Every error, on the wire."""

from typing import Annotated

from pydantic import BaseModel, Field


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: Annotated[str, Field(description="The error's class.")]
    param: Annotated[str | None, Field(description="The field at fault, if it is one.")]
    code: Annotated[str, Field(description="Which case of the class it is.")]


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail
