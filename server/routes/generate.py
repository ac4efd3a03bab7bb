"""POST /v1/generate: from a checked request to an answer or a stream of events."""

import secrets
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from models.decoding.continuation import Continuation
from models.decoding.stop_strings import StopStrings
from server.contract.error import ErrorAnswer
from server.contract.generate import GenerateAnswer, GenerateRequest
from server.contract.validation import request_from
from server.engine.delivery import Update
from server.engine.generation import Generation
from server.errors import ApiError, ClientGoneError
from server.prompts import Prompt, read_prompts
from server.registry import ServedModel
from server.service import Service
from server.transport.access import Record, record_of
from server.transport.answers import JsonAnswer
from server.transport.body import read_body
from server.transport.disconnect import watched
from server.transport.event_stream import EventStream

_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer} for status in (400, 404, 413, 422, 429, 500, 503)
}


def generate_router(service: Service) -> APIRouter:
    """The routes of text generation."""
    router = APIRouter(tags=["generation"])

    @router.post(
        "/v1/generate",
        summary="Continue a text",
        responses={200: {"model": GenerateAnswer}, **_ERRORS},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": GenerateRequest.model_json_schema()}},
            }
        },
    )
    async def generate(request: Request) -> Response:
        record = record_of(request)
        record.task = "generation"
        body = await read_body(request.scope["headers"], request.receive, service.settings.max_body_bytes)
        registry = service.registry
        asked = request_from(GenerateRequest, body)
        served = registry.find("generation", asked.model)
        record.model = served.id
        answering = _Answering(service, served, request, record)
        if asked.stream:
            events = answering.events(asked)
            return EventStream(await anext(events), events, service.settings.send_timeout_seconds)
        return JsonAnswer(await answering.whole(asked))

    return router


class _Answering:
    """One request on its way to its answer."""

    def __init__(self, service: Service, served: ServedModel, request: Request, record: Record) -> None:
        self._service = service
        self._served = served
        self._request = request
        self._record = record
        self._id = f"gen-{uuid.uuid4().hex}"

    async def whole(self, asked: GenerateRequest) -> dict[str, Any]:
        """The whole answer. Raises ApiError."""
        async with self._begun(asked) as (generation, prompts):
            ended: list[Update] = []
            while len(ended) < len(prompts) * asked.n:
                ended += await generation.mailbox.take()
            ended.sort(key=lambda update: update.choice)
            return self._answer(generation, ended) | {"usage": self._usage(prompts, ended)}

    async def events(self, asked: GenerateRequest) -> AsyncGenerator[dict[str, Any]]:
        """The events of a stream. Raises ApiError."""
        async with self._begun(asked) as (generation, prompts):
            ended: list[Update] = []
            while len(ended) < asked.n:
                updates = _merged(await generation.mailbox.take())
                ended += [update for update in updates if update.finish_reason is not None]
                event = self._answer(generation, updates)
                if len(ended) == asked.n:
                    event["usage"] = self._usage(prompts, ended)
                yield event

    @asynccontextmanager
    async def _begun(self, asked: GenerateRequest) -> AsyncIterator[tuple[Generation, list[Prompt]]]:
        """Hold a permit while the engine works on the request; leaving the block ends its work. Raises ApiError."""
        engine, permits = self._served.engine, self._served.permits
        permits.take()
        try:
            with self._service.request():
                prompts = await read_prompts(
                    asked.prompt, self._served.model.tokenizer, self._service.settings.max_prompt_tokens
                )
                self._record.prompt_tokens = sum(len(prompt.ids) for prompt in prompts)
                self._served.metrics.prompt_tokens.inc(self._record.prompt_tokens)
                generation = self._generation(asked, prompts)
                engine.submit(generation)

                def on_gone() -> None:
                    engine.cancel(generation)
                    generation.mailbox.put(ClientGoneError("The client left."))

                try:
                    async with watched(self._request.receive, on_gone):
                        yield generation, prompts
                except BaseException as error:  # also a client that leaves and a stream that is closed
                    engine.cancel(generation)
                    if isinstance(error, ApiError):
                        self._record.error = error.code
                    raise
        finally:
            permits.give_back()

    def _generation(self, asked: GenerateRequest, prompts: list[Prompt]) -> Generation:
        # A seed that is made has 53 bits, so that clients whose numbers are floats can send it back unchanged.
        seed = secrets.randbits(53) if asked.seed is None else asked.seed
        generation = Generation(asked, seed, asked.stream)
        stops = StopStrings(asked.stop) if asked.stop else None
        texts, end_id = self._served.token_texts, self._served.model.tokenizer.end_id
        for prompt in prompts:
            rows = [Continuation(texts, asked, stops, end_id) for _ in range(asked.n)]
            generation.add_prompt(prompt.ids, rows)
        return generation

    def _answer(self, generation: Generation, updates: list[Update]) -> dict[str, Any]:
        choices = [
            {
                "index": update.choice,
                "text": update.text,
                "finish_reason": update.finish_reason,
                "stop_reason": update.stop_reason,
            }
            for update in updates
        ]
        return {"id": self._id, "model": self._served.id, "seed": generation.seed, "choices": choices}

    def _usage(self, prompts: list[Prompt], ended: list[Update]) -> dict[str, int]:
        self._record.completion_tokens = sum(update.num_tokens for update in ended)
        return {
            "prompt_tokens": self._record.prompt_tokens,
            "completion_tokens": self._record.completion_tokens,
            "cached_tokens": 0,
            "unknown_characters": sum(prompt.num_unknown for prompt in prompts),
        }


def _merged(updates: list[Update]) -> list[Update]:
    """Updates that came together, those of one choice as one, by index."""
    if len(updates) == 1:
        return updates
    by_index: dict[int, Update] = {}
    for update in updates:
        before = by_index.get(update.choice)
        by_index[update.choice] = update if before is None else update.after(before)
    return [by_index[index] for index in sorted(by_index)]
