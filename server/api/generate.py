"""POST /v1/generate: from a checked request to an answer or a stream of events."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import orjson
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, ValidationInfo, field_validator
from starlette.responses import Response

from models.decoding.continuation import Continuation
from models.decoding.options import GenerationOptions
from models.decoding.stop_strings import StopStrings
from server.admission import Texts, asked_of, check_ids, num_unknown_of, read_texts, working
from server.api.description import Timings, described
from server.endpoint import Endpoint
from server.engine.generation.request import Beam, Generation, TextOutput
from server.errors import FieldError, shown
from server.http.access import JsonAnswer, PlainRoute, json_of, new_id, new_seed, record_of
from server.http.stream import EventStream
from server.service import Service
from server.sessions.point import point_after
from server.sessions.store import Session

TASK = "generation"
LARGE_ANSWER = 1000  # tokens with log-probabilities
_PIECE = 64  # tokens whose log-probabilities are made JSON at once
# Slots of a row whose tokens each have log-probabilities, which cost Python time: honest clients wait 4 times as long
# beside `heavy` as beside its control with 1, and 2.5 times as long with 4 (`python -m benchmarks attack`).
LOGPROBS_WIDTH = 4

Made = TypeVar("Made")


class GenerateRequest(GenerationOptions):
    """Continue one or several prompts."""

    model: str | None = Field(None, description='"name" (highest version) or "name/2".')
    prompt: Texts = Field(description="The text to continue, or several.")
    session: str | None = Field(
        None, description="Go on in this session, and keep what is said in it; one prompt, n 1."
    )
    stream: bool = Field(False, description="Send text as it is generated, as server-sent events; one prompt.")

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

    tokens: list[str] = Field(description='A token inside a character is "bytes:" and its bytes.')
    token_logprobs: list[float] = Field(description="Natural logarithms of the softmax as the model gives it.")
    top_logprobs: list[dict[str, float]] = Field(description="The likeliest tokens there.")
    text_offset: list[int] = Field(description="Characters of the text, the echo included, before the token.")


class GenerateChoice(BaseModel):
    """One continuation; in a stream, what is new of it."""

    index: int = Field(description="p * n + k for sample k of prompt p.")
    text: str
    finish_reason: Literal["stop", "length"] | None = Field(description="Why it ended; null while a stream goes on.")
    stop_reason: str | None = Field(description="The stop string that ended it; null for the end token.")
    logprobs: TokenLogprobs | None = Field(None, description="Where they were asked for.")


class GenerateUsage(BaseModel):
    """What was counted."""

    prompt_tokens: int
    completion_tokens: int = Field(description="Generated tokens, the end token counted.")
    cached_tokens: int = Field(description="Prompt tokens that did not have to be read again.")
    unknown_characters: int = Field(description="Characters that a character model does not know.")


class GenerateAnswer(BaseModel):
    """The answer."""

    id: str
    model: str = Field(description="name/version of the model that answered.")
    seed: int = Field(description="The seed given or made; with it the answer can be had again.")
    choices: list[GenerateChoice]
    usage: GenerateUsage


class GenerateEvent(GenerateAnswer):
    """An event of a stream: what is new of the answer; the last one alone has `usage` and `timings`."""

    usage: GenerateUsage | None = None  # type: ignore[assignment]
    timings: Timings | None = None


_EXAMPLE = {"prompt": "To be, or not to be", "max_tokens": 40, "temperature": 0.8, "seed": 7}


def generate_router(service: Service) -> APIRouter:
    """The routes of text generation."""
    router = APIRouter(tags=["generation"], route_class=PlainRoute)

    @router.post(
        "/v1/generate",
        summary="Continue a text",
        **described(GenerateRequest, GenerateAnswer, _EXAMPLE, event=GenerateEvent, is_timed=True, statuses=(409, 410)),
    )
    async def generate(request: Request) -> Response:
        """Continuations of one prompt or several, whole or as a stream of events; `seed` makes them repeatable."""
        asked = await asked_of(service, request, GenerateRequest, TASK)
        endpoint = service.registry.find(TASK, model_of(service, asked))
        return await Answering(service, endpoint, request, asked).answer()

    return router


@dataclass
class Answering:
    """One request on its way to its answer; of another dialect by what it overrides."""

    service: Service
    endpoint: Endpoint
    request: Request
    asked: GenerateRequest
    beam: Beam | None = None  # where continuations are searched for
    session: Session | None = None  # that is used
    num_unknown: int = 0  # characters
    num_sent: dict[int, int] = field(default_factory=dict)  # of a stream: tokens of each choice that events have sent

    def __post_init__(self) -> None:
        self.id = f"gen-{new_id()}"
        self.record = record_of(self.request)

    async def answer(self) -> Response:
        """The whole answer, or a stream whose first event is there. Raises ApiError."""
        if self.asked.stream:
            events = self.events()
            return EventStream(await anext(events), events)
        return await self.whole()

    async def whole(self) -> JsonAnswer:
        """The whole answer. Raises ApiError."""
        return await self.finished(
            lambda generation, ended, usage: JsonAnswer(self._answer(generation, ended) | {"usage": usage})
        )

    async def finished(self, make: Callable[[Generation, list[TextOutput], dict[str, Any]], Made]) -> Made:
        """What `make` makes of the continuations that are answered with and the usage; of many log-probabilities in
        another thread, so that the event loop goes on. Raises ApiError.
        """
        async with self._working() as generation:
            ended: list[TextOutput] = []
            while len(ended) < len(generation.items) * self.asked.n:
                ended += await generation.outputs.get()
            ended.sort(key=lambda update: update.choice_index)
            self._keep(generation)
            usage = self._usage(generation, ended)

            def made() -> Made:
                return make(generation, self._best(generation, ended), usage)

            is_large = self.asked.logprobs is not None and usage["completion_tokens"] > LARGE_ANSWER
            return await asyncio.to_thread(made) if is_large else made()

    async def events(self) -> AsyncGenerator[dict[str, Any]]:
        """The events of a stream. Raises ApiError."""
        async with self._working() as generation:
            ended: list[TextOutput] = []
            num_choices = len(generation.items) * self.asked.n
            while len(ended) < num_choices:
                for updates in self._events_of(await generation.outputs.get()):
                    ended += [update for update in updates if update.finish_reason is not None]
                    event = self._answer(generation, updates)
                    if len(ended) == num_choices:
                        self._keep(generation)
                        event["usage"] = self._usage(generation, ended)
                        event["timings"] = self.record.timings(generation.times)
                    yield event

    @contextlib.asynccontextmanager
    async def _working(self) -> AsyncIterator[Generation]:
        """The engine's work; with a session, its use around it. Raises ApiError."""
        with contextlib.ExitStack() as stack:
            if self.asked.session is not None:
                self.session = stack.enter_context(self.service.sessions.using(self.asked.session))
            async with working(self.service, self.endpoint, self.request, self._generation) as generation:
                yield generation

    def _keep(self, generation: Generation) -> None:
        """The answer is whole: a session goes on from its end. Raises UnavailableError."""
        if self.session is not None:
            self.service.sessions.finish(self.session, point_after(generation, self.session.point))

    async def _prompts(self, hold: Callable[[int], None]) -> list[tuple[str, list[int]]]:
        """Each prompt with its ids; `hold` is called with how many tokens they have at least. Raises FieldError."""
        prompts, tokenizer = self.asked.prompt, self.endpoint.model.tokenizer
        all_ids = await read_texts(prompts, tokenizer, self.endpoint.limit, hold)
        self.num_unknown = num_unknown_of(prompts, all_ids, tokenizer)
        return list(zip(prompts, all_ids, strict=True))

    def _best(self, generation: Generation, ended: list[TextOutput]) -> list[TextOutput]:  # noqa: ARG002
        """Those of the continuations that are answered with."""
        return ended

    async def _generation(self, hold: Callable[[int], None]) -> Generation:
        """What the engine works on. Raises FieldError."""
        asked, tokenizer = self.asked, self.endpoint.model.tokenizer
        prompts = await self._prompts(hold)
        self.record.prompt_tokens = sum(len(ids) for _, ids in prompts)
        check_ids(asked.logit_bias, tokenizer, "logit_bias")
        width = 1 if asked.logprobs is None else min(LOGPROBS_WIDTH, self.service.settings.max_rows)
        generation = Generation(asked, new_seed() if asked.seed is None else asked.seed, asked.stream, self.beam)
        stops, token_texts = StopStrings(asked.stop) if asked.stop else None, self.endpoint.token_texts
        for text, ids in prompts:
            echo = text if asked.echo else ""
            rows = [Continuation(token_texts, asked, stops, tokenizer.end_id, echo) for _ in range(asked.n)]
            if self.session is None:
                generation.add_prompt(ids, rows)
            else:
                point = self.session.point
                self.service.sessions.check_length(len(point.tokens) + len(ids) + asked.max_tokens, point)
                tokens = np.concatenate([point.tokens.astype(np.int64), np.array(ids, np.int64)])
                generation.add_resumed_prompt(tokens, rows[0], point.row, point.num_read)
            if self.beam is None:
                generation.items[-1].width = width
        return generation

    def _events_of(self, updates: list[TextOutput]) -> Iterator[list[TextOutput]]:
        """Updates that came together, as few events: one update of each choice in an event, of not too many tokens."""
        event: dict[int, TextOutput] = {}
        for update in updates:
            before = event.get(update.choice_index)
            num_tokens = update.num_tokens - self.num_sent.get(update.choice_index, 0)
            if before is not None and num_tokens > self.service.settings.window_steps:
                yield self._sent(event)
                event, before = {}, None
            event[update.choice_index] = update if before is None else update.merged_with_previous(before)
        yield self._sent(event)

    def _sent(self, event: dict[int, TextOutput]) -> list[TextOutput]:
        updates = [event[index] for index in sorted(event)]
        self.num_sent.update((update.choice_index, update.num_tokens) for update in updates)
        return updates

    def _answer(self, generation: Generation, updates: list[TextOutput]) -> dict[str, Any]:
        choices = [
            {
                "index": update.choice_index,
                "text": update.text,
                "finish_reason": update.finish_reason,
                "stop_reason": update.stop_reason,
                **({} if self.asked.logprobs is None else {"logprobs": self._logprobs(update)}),
            }
            for update in updates
        ]
        return {"id": self.id, "model": self.endpoint.id, "seed": generation.seed, "choices": choices}

    def _logprobs(self, update: TextOutput) -> dict[str, Any]:
        """What is new, as OpenAI's completions have it; made in pieces, so that few objects are there at once."""
        if update.logprobs is None:
            return {name: [] for name in TokenLogprobs.model_fields}
        shown, (found, offsets) = self.endpoint.token_texts.shown, update.logprobs
        pieces = []
        for start in range(0, len(offsets), _PIECE):
            tops = zip(
                found.top_ids[start : start + _PIECE].tolist(),
                found.top_logprobs[start : start + _PIECE].tolist(),
                strict=True,
            )
            pieces.append(json_of([dict(zip(map(shown, ids), values, strict=True)) for ids, values in tops])[1:-1])
        return {
            "tokens": [shown(token) for token in found.tokens.tolist()],
            "token_logprobs": found.logprobs,
            "top_logprobs": orjson.Fragment(b"[" + b",".join(pieces) + b"]"),
            "text_offset": offsets,
        }

    def _usage(self, generation: Generation, ended: list[TextOutput]) -> dict[str, int]:
        self.record.completion_tokens = sum(update.num_tokens for update in ended)
        return {
            "prompt_tokens": self.record.prompt_tokens,
            "completion_tokens": self.record.completion_tokens,
            "cached_tokens": generation.num_cached,
            "unknown_characters": self.num_unknown,
        }


def model_of(service: Service, asked: GenerateRequest) -> str | None:
    """The model that a request names, by its session if not by itself. Raises SessionNotFoundError, FieldError."""
    if asked.session is None:
        return asked.model
    session = service.sessions.find(asked.session)
    if asked.model is not None and service.registry.find(TASK, asked.model).id != session.model:
        raise FieldError(
            f"model: the session belongs to {session.model}, not {shown(asked.model)}. Leave model out.", param="model"
        )
    return session.model
