"""POST /v1/generate: from a checked request to an answer or a stream of events."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

from models.decoding.continuation import Continuation
from models.decoding.stop_strings import StopStrings
from server.admission import working
from server.contract.generate import GenerateAnswer, GenerateRequest
from server.contract.validation import request_from
from server.engine.generation.request import Generation, TextOutput
from server.errors import FieldError, shown
from server.ids import new_id, new_seed
from server.routes.description import described
from server.served_model import ServedGeneration
from server.service import Service
from server.sessions.reading import point_after
from server.sessions.sessions import SessionUse
from server.texts import Limit, num_unknown_of, read_texts
from server.transport.access import Record, record_of
from server.transport.answers import JsonAnswer
from server.transport.body import read_body
from server.transport.event_stream import EventStream

_EXAMPLE = {"prompt": "To be, or not to be", "max_tokens": 40, "temperature": 0.8, "seed": 7}


def generate_router(service: Service) -> APIRouter:
    """The routes of text generation."""
    router = APIRouter(tags=["generation"])

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
        served = registry.find(ServedGeneration, _model_of(service, asked))
        record.model = served.id
        answering = _Answering(service, served, request, record, asked)
        if asked.stream:
            events = answering.events()
            return EventStream(await anext(events), events, service.settings.send_timeout_seconds)
        return JsonAnswer(await answering.whole())

    return router


class _Answering:
    """One request on its way to its answer."""

    def __init__(
        self, service: Service, served: ServedGeneration, request: Request, record: Record, asked: GenerateRequest
    ) -> None:
        self._service = service
        self._served = served
        self._request = request
        self._record = record
        self._asked = asked
        self._id = f"gen-{new_id()}"
        self._num_unknown = 0
        self._use: SessionUse | None = None
        self._num_told: dict[int, int] = {}  # of a stream: tokens of each choice that events have told

    async def whole(self) -> dict[str, Any]:
        """The whole answer. Raises ApiError."""
        async with self._working() as generation:
            ended: list[TextOutput] = []
            while len(ended) < len(generation.items) * self._asked.n:
                ended += await generation.outputs.get()
            ended.sort(key=lambda update: update.choice)
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
            async with working(
                self._service, self._served, self._request, self._record, self._generation
            ) as generation:
                yield generation

    async def _keep(self, generation: Generation) -> None:
        """The answer is whole: a session goes on from its end. Raises ApiError."""
        if self._use is not None:
            self._use.finish(point_after(generation, self._use.point))

    async def _generation(self) -> Generation:
        """What the engine works on. Raises FieldError."""
        asked, model = self._asked, self._served.model
        limit = Limit("prompt", self._service.settings.max_prompt_tokens, "RNNSERVE_MAX_PROMPT_TOKENS")
        prompts = await read_texts(asked.prompt, model.tokenizer, limit)
        self._num_unknown = num_unknown_of(asked.prompt, prompts, model.tokenizer)
        self._record.prompt_tokens = sum(map(len, prompts))
        seed = new_seed() if asked.seed is None else asked.seed
        generation = Generation(asked, seed, asked.stream)
        _check_biases(asked, model.tokenizer.vocab_size)
        stops = StopStrings(asked.stop) if asked.stop else None
        texts, end_id = self._served.token_texts, model.tokenizer.end_id
        for text, ids in zip(asked.prompt, prompts, strict=True):
            echo = text if asked.echo else ""
            rows = [Continuation(texts, asked, stops, end_id, echo) for _ in range(asked.n)]
            if self._use is None:
                generation.add_prompt(ids, rows)
            else:
                self._use.check_room(len(ids) + asked.max_tokens)
                point = self._use.point
                tokens = np.concatenate([point.tokens.astype(np.int64), np.array(ids, np.int64)])
                generation.resume(tokens, rows[0], point.row, point.num_read)
        return generation

    def _events_of(self, updates: list[TextOutput]) -> Iterator[list[TextOutput]]:
        """Updates that came together, as few events: one update of each choice in an event, of not too many tokens."""
        event: dict[int, TextOutput] = {}
        for update in updates:
            before = event.get(update.choice)
            if before is not None:
                if update.num_tokens - self._num_told.get(update.choice, 0) > self._service.settings.window_steps:
                    yield self._told(event)
                    event = {}
                else:
                    update = update.after(before)
            event[update.choice] = update
        yield self._told(event)

    def _told(self, event: dict[int, TextOutput]) -> list[TextOutput]:
        updates = [event[index] for index in sorted(event)]
        self._num_told.update((update.choice, update.num_tokens) for update in updates)
        return updates

    def _answer(self, generation: Generation, updates: list[TextOutput]) -> dict[str, Any]:
        choices = [
            {
                "index": update.choice,
                "text": update.text,
                "finish_reason": update.finish_reason,
                "stop_reason": update.stop_reason,
                **({} if self._asked.logprobs is None else {"logprobs": _logprobs(update)}),
            }
            for update in updates
        ]
        return {"id": self._id, "model": self._served.id, "seed": generation.seed, "choices": choices}

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
    if asked.model is not None and service.registry.find(ServedGeneration, asked.model).id != session.model:
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
