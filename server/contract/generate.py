"""POST /v1/generate, on the wire."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator

from models.decoding.options import GenerationOptions
from server.contract.texts import texts_from, texts_schema

MAX_PROMPTS = 64


def _prompts_from(value: Any) -> tuple[str, ...]:
    return texts_from(value, MAX_PROMPTS)


Prompts = Annotated[
    tuple[str, ...],
    BeforeValidator(_prompts_from),
    WithJsonSchema(texts_schema(MAX_PROMPTS)),
]


class GenerateRequest(GenerationOptions):
    """Continue one or several prompts."""

    model: Annotated[str | None, Field(description='"name" (highest version) or "name/2".')] = None
    prompt: Annotated[Prompts, Field(description="The text to continue, or several.")]
    session: Annotated[
        str | None, Field(description="Go on in this session, and keep what is said in it; one prompt, n 1.")
    ] = None
    stream: Annotated[bool, Field(description="Send text as it is generated, as server-sent events; one prompt.")] = (
        False
    )

    @field_validator("session")
    @classmethod
    def _a_session_has_one_row(cls, value: str | None, info: ValidationInfo) -> str | None:
        prompts, n = info.data.get("prompt", ()), info.data.get("n", 1)  # absent when wrong themselves
        if value is not None and (len(prompts) > 1 or n > 1):
            raise ValueError(
                f"a session takes one prompt and n 1, not {len(prompts)} and {n}; fork it to go on in several ways"
            )
        return value

    @field_validator("stream")
    @classmethod
    def _one_prompt_is_streamed(cls, value: bool, info: ValidationInfo) -> bool:
        prompts = info.data.get("prompt", ())  # absent when it was itself wrong
        if value and len(prompts) > 1:
            raise ValueError(f"one prompt can be streamed, not {len(prompts)}; send a request for each")
        return value


class TokenLogprobs(BaseModel):
    """The tokens of a choice's text, one entry of each list for each token; the end token has none."""

    tokens: Annotated[list[str], Field(description='A token inside a character is "bytes:" and its bytes.')]
    token_logprobs: Annotated[
        list[float], Field(description="Natural logarithms of the softmax as the model gives it.")
    ]
    top_logprobs: Annotated[list[dict[str, float]], Field(description="The likeliest tokens there.")]
    text_offset: Annotated[list[int], Field(description="Characters of the text, the echo included, before the token.")]


class GenerateChoice(BaseModel):
    """One continuation; in a stream, what is new of it."""

    index: Annotated[int, Field(description="p * n + k for sample k of prompt p.")]
    text: str
    finish_reason: Annotated[
        Literal["stop", "length"] | None, Field(description="Why it ended; null while a stream goes on.")
    ]
    stop_reason: Annotated[str | None, Field(description="The stop string that ended it; null for the end token.")]
    logprobs: Annotated[TokenLogprobs | None, Field(description="Where they were asked for.")] = None


class GenerateUsage(BaseModel):
    """What was counted."""

    prompt_tokens: int
    completion_tokens: Annotated[int, Field(description="Generated tokens, the end token counted.")]
    cached_tokens: Annotated[int, Field(description="Prompt tokens that did not have to be read again.")]
    unknown_characters: Annotated[int, Field(description="Characters that a character model does not know.")]


class GenerateAnswer(BaseModel):
    """The answer; a stream's events have this shape, and its last one alone has `usage` and `timings`."""

    id: str
    model: Annotated[str, Field(description="name/version of the model that answered.")]
    seed: Annotated[int, Field(description="The seed given or made; with it the answer can be had again.")]
    choices: list[GenerateChoice]
    usage: GenerateUsage
