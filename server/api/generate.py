"""POST /v1/generate: from a checked request to an answer or a stream of events."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, Field, ValidationInfo, WithJsonSchema, field_validator
from starlette.responses import Response

from models.decoding.continuation import Continuation
from models.decoding.options import GenerationOptions
from models.decoding.stop_strings import StopStrings
from server.admission import working
from server.api.description import PlainRoute, described
from server.api.texts import num_unknown_of, read_texts
from server.api.validation import request_from, texts_from, texts_schema
from server.endpoint import Endpoint
from server.engine.generation.request import Generation, TextOutput
from server.errors import FieldError, shown
from server.http.access import JsonAnswer, Record, new_id, new_seed, record_of
from server.http.body import read_body
from server.http.stream import EventStream
from server.service import Service
from server.sessions.reading import point_after
from server.sessions.sessions import SessionUse
from server.task import Limit

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


_EXAMPLE = {"prompt": "To be, or not to be", "max_tokens": 40, "temperature": 0.8, "seed": 7}


def generate_router(service: Service) -> APIRouter:
    """The routes of text generation."""
    router = APIRouter(tags=["generation"], route_class=PlainRoute)

    @router.post(
        "/v1/generate",
        summary="Continue a text",
        **described(GenerateRequest, GenerateAnswer, _EXAMPLE, is_timed=True, statuses=(409,)),
    )
    async def generate(request: Request) -> Response:
        """Continuations of one prompt or several, whole or as a stream of events; `seed` makes them repeatable."""
        record = record_of(request)
        record.task = "generation"
        body = await read_body(request.scope["headers"], request.receive, service.settings)
        registry = service.registry
        asked = request_from(GenerateRequest, body)
        endpoint = registry.find("generation", _model_of(service, asked))
        record.model = endpoint.id
        answering = _Answering(service, endpoint, request, record, asked)
        if asked.stream:
            events = answering.events()
            return EventStream(await anext(events), events, service.settings.send_timeout_seconds)
        return JsonAnswer(await answering.whole())

    return router


class _Answering:
    """One request on its way to its answer."""

    def __init__(
        self, service: Service, endpoint: Endpoint, request: Request, record: Record, asked: GenerateRequest
    ) -> None:
        self._service = service
        self._endpoint = endpoint
        self._request = request
        self._record = record
        self._asked = asked
        self._id = f"gen-{new_id()}"
        self._num_unknown = 0
        self._use: SessionUse | None = None
        self._num_sent: dict[int, int] = {}  # of a stream: tokens of each choice that events have sent

    async def whole(self) -> dict[str, Any]:
        """The whole answer. Raises ApiError."""
        async with self._working() as generation:
            ended: list[TextOutput] = []
            while len(ended) < len(generation.items) * self._asked.n:
                ended += await generation.outputs.get()
            ended.sort(key=lambda update: update.choice_index)
            await self._keep(generation)
            return self._answer(generation, ended) | {"usage": self._usage(generation, ended)}

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """The events of a stream. Raises ApiError."""
        async with self._working() as generation:
            ended: list[TextOutput] = []
            while len(ended) < self._asked.n:
                for updates in self._events_of(await generation.outputs.get()):
                    ended += [update for update in updates if update.finish_reason is not None]
                    event = self._answer(generation, updates)
                    if len(ended) == self._asked.n:
                        await self._keep(generation)
                        event["usage"] = self._usage(generation, ended)
                        event["timings"] = self._record.timings(generation.times)
                    yield event

    @contextlib.asynccontextmanager
    async def _working(self) -> AsyncIterator[Generation]:
        """The engine's work; with a session, its use around it. Raises ApiError."""
        with contextlib.ExitStack() as stack:
            if self._asked.session is not None:
                self._use = stack.enter_context(self._service.sessions.using(self._asked.session))
            async with working(self._service, self._endpoint, self._request, self._generation) as generation:
                yield generation

    async def _keep(self, generation: Generation) -> None:
        """The answer is whole: a session goes on from its end. Raises ApiError."""
        if self._use is not None:
            self._use.finish(point_after(generation, self._use.point))

    async def _generation(self) -> Generation:
        """What the engine works on. Raises FieldError."""
        asked, model = self._asked, self._endpoint.info
        limit = Limit("prompt", self._service.settings.max_prompt_tokens, "RNNSERVE_MAX_PROMPT_TOKENS")
        prompts = await read_texts(asked.prompt, model.tokenizer, limit)
        self._num_unknown = num_unknown_of(asked.prompt, prompts, model.tokenizer)
        self._record.prompt_tokens = sum(map(len, prompts))
        seed = new_seed() if asked.seed is None else asked.seed
        generation = Generation(asked, seed, asked.stream)
        _check_biases(asked, model.tokenizer.vocab_size)
        stops = StopStrings(asked.stop) if asked.stop else None
        texts, end_id = self._endpoint.token_texts, model.tokenizer.end_id
        for text, ids in zip(asked.prompt, prompts, strict=True):
            echo = text if asked.echo else ""
            rows = [Continuation(texts, asked, stops, end_id, echo) for _ in range(asked.n)]
            if self._use is None:
                generation.add_prompt(ids, rows)
            else:
                self._use.check_room(len(ids) + asked.max_tokens)
                point = self._use.point
                tokens = np.concatenate([point.tokens.astype(np.int64), np.array(ids, np.int64)])
                generation.add_resumed_prompt(tokens, rows[0], point.row, point.num_read)
        return generation

    def _events_of(self, updates: list[TextOutput]) -> Iterator[list[TextOutput]]:
        """Updates that came together, as few events: one update of each choice in an event, of not too many tokens."""
        event: dict[int, TextOutput] = {}
        for update in updates:
            before = event.get(update.choice_index)
            if before is not None:
                if update.num_tokens - self._num_sent.get(update.choice_index, 0) > self._service.settings.window_steps:
                    yield self._sent(event)
                    event = {}
                else:
                    update = update.merged_with_previous(before)
            event[update.choice_index] = update
        yield self._sent(event)

    def _sent(self, event: dict[int, TextOutput]) -> list[TextOutput]:
        updates = [event[index] for index in sorted(event)]
        self._num_sent.update((update.choice_index, update.num_tokens) for update in updates)
        return updates

    def _answer(self, generation: Generation, updates: list[TextOutput]) -> dict[str, Any]:
        choices = [
            {
                "index": update.choice_index,
                "text": update.text,
                "finish_reason": update.finish_reason,
                "stop_reason": update.stop_reason,
                **({} if self._asked.logprobs is None else {"logprobs": _logprobs(update)}),
            }
            for update in updates
        ]
        return {"id": self._id, "model": self._endpoint.id, "seed": generation.seed, "choices": choices}

    def _usage(self, generation: Generation, ended: list[TextOutput]) -> dict[str, int]:
        self._record.completion_tokens = sum(update.num_tokens for update in ended)
        return {
            "prompt_tokens": self._record.prompt_tokens,
            "completion_tokens": self._record.completion_tokens,
            "cached_tokens": generation.num_cached,
            "unknown_characters": self._num_unknown,
        }


def _model_of(service: Service, asked: GenerateRequest) -> str | None:
    """The model that a request names, by its session if not by itself. Raises SessionNotFoundError, FieldError."""
    if asked.session is None:
        return asked.model
    session = service.sessions.find(asked.session)
    if asked.model is not None and service.registry.find("generation", asked.model).id != session.model:
        raise FieldError(
            f"model: the session belongs to {session.model}, not {shown(asked.model)}. Leave model out.", param="model"
        )
    return session.model


def _check_biases(asked: GenerateRequest, vocab_size: int) -> None:
    """Raises FieldError for a token id that the model does not have."""
    last = max(asked.logit_bias, default=0)
    if last >= vocab_size:
        message = f"logit_bias: the model has no token {last}; its ids are 0 to {vocab_size - 1}."
        raise FieldError(message, param="logit_bias")


def _logprobs(update: TextOutput) -> dict[str, Any]:
    """What is new, as OpenAI's completions have it."""
    return {
        "tokens": [placed.token for placed in update.logprobs],
        "token_logprobs": [placed.logprob for placed in update.logprobs],
        "top_logprobs": [placed.top for placed in update.logprobs],
        "text_offset": [placed.offset for placed in update.logprobs],
    }
