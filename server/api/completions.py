"""POST /v1/completions: OpenAI's text completions, with further fields of vLLM's.

What OpenAI's clients send and expect (https://platform.openai.com/docs/api-reference/completions); a null is a field
left out, and fields that are not known are passed over. The engine is that of /v1/generate.
"""

import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from fastapi import APIRouter, Request
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from starlette.responses import Response

from models.decoding.continuation import Continuation
from models.decoding.options import GenerationOptions
from models.decoding.stop_strings import StopStrings
from server.admission import MAX_TEXTS, check_ids, parsed_body
from server.api.description import described
from server.api.generate import TASK, Answering, GenerateRequest, model_of
from server.endpoint import Endpoint
from server.engine.generation.request import Beam, Generation, TextOutput
from server.errors import ApiError, FieldError
from server.http.access import PlainRoute, json_of, new_id, new_seed, record_of
from server.http.body import request_from
from server.service import Service

PATH = "/v1/completions"
_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}  # else by the status' hundred
_FINAL = (409, 504)  # statuses that a client must not try again by itself

Prompt = str | tuple[int, ...]


def _prompts_from(value: Any) -> tuple[Prompt, ...]:
    """One prompt or several, each a string or a list of token ids. Raises ValueError in a plain sentence."""
    if isinstance(value, str) or (isinstance(value, list) and value and _are_ids(value)):
        value = [value]
    if not isinstance(value, list) or not (
        all(isinstance(prompt, str) for prompt in value) or all(map(_are_ids, value))
    ):
        raise ValueError("must be a string, a list of strings, a list of token ids or a list of such lists")
    if not 1 <= len(value) <= MAX_TEXTS:
        parts = f"; send them in requests of at most {MAX_TEXTS}" if value else ""
        raise ValueError(f"{len(value)} prompts; 1 to {MAX_TEXTS} are allowed{parts}")
    if not all(value):
        raise ValueError("a prompt is empty; each needs at least one character or token")
    return tuple(prompt if isinstance(prompt, str) else tuple(map(int, prompt)) for prompt in value)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(
        (type(number) is int or (type(number) is float and number.is_integer())) and number >= 0 for number in value
    )


_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
Prompts = Annotated[
    tuple[Prompt, ...],
    BeforeValidator(_prompts_from),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": MAX_TEXTS},
                _IDS,
                {"type": "array", "items": _IDS, "minItems": 1, "maxItems": MAX_TEXTS},
            ]
        }
    ),
]


class StreamOptions(BaseModel):
    """What a stream has besides its text."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool | None = Field(None, description="End with an event that has no choices, and usage.")


def _with_nulls(schema: dict[str, Any]) -> None:
    """Say of every field but the prompt that it may be null."""
    for name, one in schema["properties"].items():
        described = {key: one.pop(key) for key in ("title", "description", "default") if key in one}
        either = one.get("anyOf", [one])
        if name != "prompt" and {"type": "null"} not in either:
            one = {"anyOf": [*either, {"type": "null"}]}
        schema["properties"][name] = one | described


class CompletionRequest(GenerateRequest):
    """Continue one or several prompts, as OpenAI's clients ask for it."""

    model_config = ConfigDict(
        extra="ignore", strict=True, frozen=True, allow_inf_nan=False, json_schema_extra=_with_nulls
    )

    prompt: Prompts = Field(description="The text to continue, or several; or token ids.")  # type: ignore[assignment]
    max_tokens: Annotated[
        int, Field(ge=0, le=4096, description="Most tokens to generate; 0, with echo, scores the prompt.")
    ] = 16
    top_k: Annotated[int, Field(ge=-1, description="Sample among the k likeliest tokens; 0 and -1 are off.")] = 0
    best_of: Annotated[
        int | None,
        Field(
            ge=1, le=16, description="Make so many, and answer with the n whose tokens are the likeliest on average."
        ),
    ] = None
    stream_options: StreamOptions | None = None
    ignore_eos: Annotated[bool, Field(description="The end token is not chosen.")] = False
    suffix: Annotated[
        str | None,
        WithJsonSchema({"const": ""}),
        Field(description="Not offered: a recurrent model reads forwards."),
    ] = None
    use_beam_search: Annotated[
        bool,
        Field(
            description="Search for the likeliest continuations with a beam of best_of, or else n, instead of drawing "
            "them; temperature and seed are not looked at."
        ),
    ] = False
    length_penalty: Annotated[
        float, Field(ge=0, le=5, description="Of use_beam_search: the higher, the longer; see POST /v1/translate.")
    ] = 1.0
    user: Annotated[str | None, Field(description="Not looked at.")] = None

    @model_validator(mode="before")
    @classmethod
    def _null_is_left_out(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if value is not None}

    @field_validator("stream")
    @classmethod
    def _one_prompt_is_streamed(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: ARG003 - here several are, too
        return value

    @field_validator("suffix")
    @classmethod
    def _is_not_offered(cls, value: Any) -> Any:
        if value:
            raise ValueError("is not offered by recurrent models; leave it out")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "CompletionRequest":
        if self.best_of is not None and self.best_of < self.n:
            raise ValueError(f"best_of is {self.best_of} and n {self.n}; best_of may not be less")
        if self.stream and self.best_of is not None and self.best_of > self.n:
            raise ValueError("best_of chooses once all is there, so it goes without stream")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options goes with stream true")
        if not self.max_tokens and not self.echo:
            raise ValueError("max_tokens 0 scores the prompt, which is shown with echo true; or ask for a token")
        if self.ignore_eos and self.stop:
            raise ValueError("ignore_eos goes without stop")
        if self.length_penalty != 1 and not self.use_beam_search:
            raise ValueError("length_penalty goes with use_beam_search")
        if self.use_beam_search and self._beside_search:
            raise ValueError(f"use_beam_search goes without {', '.join(self._beside_search)}")
        if self.is_scored and (self.changes_logits or self.session is not None):
            raise ValueError("a prompt is scored (echo with logprobs) without penalties, logit_bias and session")
        return self

    @property
    def _beside_search(self) -> list[str]:
        """Fields that a search cannot follow."""
        has = {
            "stream": self.stream,
            "stop": self.stop,
            "logprobs": self.logprobs is not None,
            "session": self.session,
            "top_k": self.top_k > 0,
            "top_p": self.top_p < 1,
            "min_p": self.min_p > 0,
            "penalties and logit_bias": self.changes_logits,
            "max_tokens 0": not self.max_tokens,
        }
        return [name for name, value in has.items() if value]

    @property
    def is_scored(self) -> bool:
        """Whether it is asked how likely the prompt's own tokens are."""
        return self.echo and (self.logprobs is not None or not self.max_tokens)


class CompletionLogprobs(BaseModel):
    """Of each token of the text, one entry of each list; null for a prompt's first one."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(BaseModel):
    """One continuation; in a stream, what is new of it."""

    index: int
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"] | None
    stop_reason: str | None = Field(description="The stop string that ended it.")


class CachedTokens(BaseModel):
    """Of the prompt's tokens."""

    cached_tokens: int


class CompletionUsage(BaseModel):
    """What was counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class CompletionAnswer(BaseModel):
    """The answer; a stream's events have this shape, without usage."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    seed: int
    choices: list[CompletionChoice]
    usage: CompletionUsage | None = None


_EXAMPLE = {"model": "shakespeare-char", "prompt": "To be, or not to be", "max_tokens": 40, "seed": 7}


def completions_router(service: Service) -> APIRouter:
    """The route of OpenAI's completions."""
    router = APIRouter(tags=["OpenAI"], route_class=PlainRoute)

    @router.post(
        PATH,
        summary="Completions, as OpenAI's API has them",
        **described(
            CompletionRequest, CompletionAnswer, _EXAMPLE, event=CompletionAnswer, is_timed=True, statuses=(409, 410)
        ),
    )
    async def completions(request: Request) -> Response:
        """Continuations of one prompt or several, whole or as a stream of events."""
        most = service.settings.max_prompt_tokens

        def parse(body: bytes) -> CompletionRequest:
            return request_from(CompletionRequest, body, most)

        asked = await parsed_body(service, request, TASK, parse)
        endpoint = service.registry.find(TASK, model_of(service, asked))
        return await _Completing.of(service, endpoint, request, asked).answer()

    return router


def completion_error(error: ApiError) -> tuple[int, dict[str, Any], dict[str, str]]:
    """An error as OpenAI's clients read it: status, body, headers. What is wrong in a request is 400 there."""
    status = 400 if error.status == FieldError.status else error.status
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    body = {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}
    return status, body, {**error.headers, **({"x-should-retry": "false"} if status in _FINAL else {})}


@dataclass
class _Completing(Answering):
    """See Answering. `asked` is what the engine is to do, `wanted` what the client wants of it."""

    wanted: CompletionRequest = field(kw_only=True)
    created: int = field(default_factory=lambda: int(time.time()), kw_only=True)
    first_tokens: list[int] = field(default_factory=list, kw_only=True)  # of scored prompts
    begun: set[int] = field(default_factory=set, kw_only=True)  # choices whose first token has been sent

    @classmethod
    def of(cls, service: Service, endpoint: Endpoint, request: Request, wanted: CompletionRequest) -> "_Completing":
        """From what a client wants."""
        beam = None
        num_made = wanted.best_of or wanted.n
        if wanted.use_beam_search:
            beam, num_made = Beam(num_made, wanted.n, wanted.length_penalty), wanted.n
            _check_beam(beam, endpoint, service.settings.max_rows)
        changed: dict[str, Any] = {"n": num_made, "top_k": max(0, wanted.top_k)}
        if num_made > wanted.n and wanted.logprobs is None:
            changed["logprobs"] = 0  # what they are compared by
        if wanted.ignore_eos:
            changed["min_tokens"] = wanted.max_tokens
        return cls(service, endpoint, request, wanted.model_copy(update=changed), beam, wanted=wanted)

    def __post_init__(self) -> None:
        self.id = f"cmpl-{new_id()}"
        self.record = record_of(self.request)

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """See Answering; usage is an event of its own, where it is wanted."""
        async for event in super().events():
            event.pop("timings", None)
            usage = event.pop("usage", None)
            yield event
            options = self.wanted.stream_options
            if usage is not None and options is not None and options.include_usage:
                yield {**event, "choices": [], "usage": usage}

    async def _prompts(self, hold: Callable[[int], None]) -> list[tuple[str, list[int]]]:
        prompts = self.wanted.prompt
        if all(isinstance(prompt, str) for prompt in prompts):
            return await super()._prompts(hold)
        tokenizer, limit = self.endpoint.model.tokenizer, self.endpoint.limit
        found = []
        for prompt in prompts:
            assert not isinstance(prompt, str), "they are all of one kind"
            check_ids(prompt, tokenizer, "prompt")
            if len(prompt) > limit.tokens:
                message = f"prompt has {len(prompt)} tokens; at most {limit.tokens} are allowed ({limit.setting})."
                raise FieldError(message, param="prompt")
            found.append((tokenizer.decode(prompt), list(prompt)))
        return found

    async def _generation(self, hold: Callable[[int], None]) -> Generation:
        if not self.wanted.is_scored:
            return await super()._generation(hold)
        asked, tokenizer = self.asked, self.endpoint.model.tokenizer
        prompts = await self._prompts(hold)
        self.record.prompt_tokens = sum(len(ids) for _, ids in prompts)
        if not asked.max_tokens and any(len(ids) < 2 for _, ids in prompts):
            raise FieldError(
                "prompt: nothing comes before its only token, so there is nothing to score.", param="prompt"
            )
        if any(tokenizer.end_id in ids for _, ids in prompts):
            raise FieldError("prompt holds the end token, which ends a text; score what is before it.", param="prompt")
        most = max(len(ids) for _, ids in prompts) - 1 + asked.max_tokens
        generation = Generation(
            _lengthened(asked, most, 0), new_seed() if asked.seed is None else asked.seed, asked.stream
        )
        stops = StopStrings(asked.stop) if asked.stop else None
        for _, ids in prompts:
            options = _lengthened(asked, len(ids) - 1 + asked.max_tokens, len(ids) - 1 + asked.min_tokens)
            echo = tokenizer.decode(ids[:1])
            rows = [
                Continuation(self.endpoint.token_texts, options, stops, tokenizer.end_id, echo) for _ in range(asked.n)
            ]
            generation.add_prompt(ids[:1], rows)
            generation.items[-1].given = np.array(ids[1:], np.int64)
            self.first_tokens.append(ids[0])
        return generation

    def _best(self, generation: Generation, ended: list[TextOutput]) -> list[TextOutput]:
        num_made, num_wanted = self.asked.n, self.wanted.n
        if num_made == num_wanted:
            return ended
        best = []
        for number in range(len(generation.items)):
            own = ended[number * num_made : (number + 1) * num_made]
            own.sort(key=mean_logprob, reverse=True)  # stable: of equals the earlier
            best += [each._replace(choice_index=number * num_wanted + k) for k, each in enumerate(own[:num_wanted])]
        return best

    def _answer(self, generation: Generation, updates: list[TextOutput]) -> dict[str, Any]:
        choices = [
            {
                "index": update.choice_index,
                "text": update.text,
                "logprobs": None if self.wanted.logprobs is None else self._placed(update),
                "finish_reason": update.finish_reason,
                "stop_reason": update.stop_reason,
            }
            for update in updates
        ]
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.endpoint.id,
            "seed": generation.seed,
            "choices": choices,
        }

    def _placed(self, update: TextOutput) -> dict[str, Any]:
        """The log-probabilities of what is new; before the first of a scored prompt's, its first token without any."""
        found = self._logprobs(update)
        if not self.first_tokens or update.choice_index in self.begun:
            return found
        self.begun.add(update.choice_index)
        first = self.endpoint.token_texts.shown(self.first_tokens[update.choice_index // self.wanted.n])
        tops = json_of(found["top_logprobs"])[1:-1]
        return {
            "tokens": [first, *found["tokens"]],
            "token_logprobs": [None, *np.asarray(found["token_logprobs"]).tolist()],
            "top_logprobs": orjson.Fragment(b"[null" + (b"," + tops if tops else b"") + b"]"),
            "text_offset": [0, *np.asarray(found["text_offset"]).tolist()],
        }

    def _usage(self, generation: Generation, ended: list[TextOutput]) -> dict[str, Any]:
        usage = super()._usage(generation, ended)
        given = sum(len(item.given) * self.asked.n for item in generation.items if item.given is not None)
        self.record.completion_tokens = num_made = usage["completion_tokens"] - given
        return {
            "prompt_tokens": usage["prompt_tokens"],
            "completion_tokens": num_made,
            "total_tokens": usage["prompt_tokens"] + num_made,
            "prompt_tokens_details": {"cached_tokens": usage["cached_tokens"]},
        }


def _check_beam(beam: Beam, endpoint: Endpoint, max_rows: int) -> None:
    """Raises FieldError where a model has no room or no tokens for a beam."""
    if beam.size > max_rows:
        message = f"A beam of {beam.size} is more than the {max_rows} rows decoded together (RNNSERVE_MAX_ROWS)."
        raise FieldError(message, param="best_of")
    num_tokens = endpoint.model.tokenizer.vocab_size
    if beam.num_wanted > num_tokens:
        message = f"n is {beam.num_wanted}, and the model has {num_tokens} tokens; so many texts differ for certain."
        raise FieldError(message, param="n")


def _lengthened(options: GenerationOptions, max_tokens: int, min_tokens: int) -> GenerationOptions:
    """The options of an answer that begins with given tokens."""
    return options.model_copy(update={"max_tokens": max_tokens, "min_tokens": min_tokens})


def mean_logprob(output: TextOutput) -> float:
    """Of an output's tokens, the end token apart; a text without any is the least likely."""
    return float(output.logprobs.found.logprobs.mean()) if output.logprobs is not None else float("-inf")
