"""What the tasks' requests have in common, and a request that has been read."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from models.config import FrozenModel
from server.admission import MAX_SHORT_TEXTS, texts_from
from server.endpoint import HuggingFaceTask
from server.errors import FieldError
from server.http.body import checked, request_from


def _inputs_from(value: Any) -> str | tuple[str, ...]:
    """One text stays one, because its answer has another shape than that of a list of one."""
    texts = texts_from(MAX_SHORT_TEXTS, value)
    return texts[0] if isinstance(value, str) else texts


_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MAX_SHORT_TEXTS}
Inputs = Annotated[str | tuple[str, ...], BeforeValidator(_inputs_from), WithJsonSchema({"anyOf": [_TEXT, _TEXTS]})]


class TaskRequest(FrozenModel):
    """Give a text, or several, to a model of any task."""

    inputs: Inputs = Field(description="The text, or several: at most 256, to translate 64, to continue one.")
    parameters: dict[str, Any] | None = Field(None, description="Of the model's task: docs/api.md lists them.")
    stream: bool | None = Field(None, description="Send text as it is generated, as server-sent events.")
    options: dict[str, Any] | None = Field(None, description="Without effect.")


@dataclass(frozen=True)
class Asked:
    """A request that has been read.

    Attributes:
        texts: its inputs.
        is_list: whether they came as a list; then the answer is one, too.
        parameters: of the class that the task names.
        is_streamed: whether text is wanted as it comes.
    """

    texts: tuple[str, ...]
    is_list: bool
    parameters: Any
    is_streamed: bool


def asked_from(body: bytes, task: HuggingFaceTask) -> Asked:
    """Read a request. Raises BadJsonError, and FieldError: a field, or a parameter, is wrong; the message names it."""
    head = request_from(TaskRequest, body)
    if head.stream and not task.has_streams:
        raise FieldError(f"stream: a model for {task.name} answers in one piece; leave it out.", param="stream")
    given = {name: value for name, value in (head.parameters or {}).items() if value is not None}
    parameters: BaseModel = checked(task.parameters, given)
    texts = (head.inputs,) if isinstance(head.inputs, str) else head.inputs
    return Asked(texts, not isinstance(head.inputs, str), parameters, bool(head.stream))
