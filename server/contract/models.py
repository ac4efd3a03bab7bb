"""GET /v1/models, on the wire: OpenAI's list shape, with what a client of several tasks wants to know."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from models.tasks import TaskName


class LanguagePair(BaseModel):
    """What a translation model translates, as ISO 639-1 codes."""

    source: str
    target: str


class ModelCard(BaseModel):
    """One model name."""

    id: Annotated[str, Field(description="The bare name, as in the store.")]
    object: Literal["model"] = "model"
    created: Annotated[int, Field(description="When it was loaded, seconds since 1970.")]
    owned_by: str = "rnnserve"
    version: Annotated[int, Field(description="The version that the name means.")]
    task: TaskName
    languages: Annotated[LanguagePair | None, Field(description="Of a translation model; others have none.")] = None
    labels: Annotated[list[str] | None, Field(description="Of a sentiment model; others have none.")] = None
    precision: Annotated[str, Field(description="The graph set in use.")]
    backend: Annotated[str, Field(description="What runs it.")]
    metrics: Annotated[dict[str, float], Field(description="As measured after training.")]


class ModelList(BaseModel):
    """The models that are served."""

    object: Literal["list"] = "list"
    data: list[ModelCard]
