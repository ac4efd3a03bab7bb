"""How a tagger is asked over HTTP: POST /v1/toy, one label for each token of a text."""

from collections.abc import Awaitable, Callable
from functools import partial

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from models.config import FrozenModel
from server.admission import working
from server.api.description import PlainRoute, described
from server.api.texts import read_texts
from server.api.validation import request_from
from server.endpoint import Endpoint
from server.engine.classification.request import TextBatch
from server.http.access import JsonAnswer, record_of
from server.http.body import read_body
from server.service import Service
from server.task import Limit, ServerTask
from server.tasks import classification_engine
from tests.toy_task.record import TAGGING


class ToyRequest(FrozenModel):
    text: str
    model: str | None = None


class ToyAnswer(BaseModel):
    model: str
    labels: list[str]


def toy_router(service: Service) -> APIRouter:
    router = APIRouter(route_class=PlainRoute)

    @router.post("/v1/toy", **described(ToyRequest, ToyAnswer, {"text": "abc"}))
    async def toy(request: Request) -> Response:
        record = record_of(request)
        record.task = TAGGING.name
        asked = request_from(ToyRequest, await read_body(request.scope["headers"], request.receive, service.settings))
        endpoint = service.registry.find(TAGGING.name, asked.model)
        record.model = endpoint.id
        async with working(service, endpoint, request, _prepared(asked.text, endpoint)) as batch:
            (found,) = await batch.outputs.get()
        labels = [endpoint.info.labels[i] for i in found.logits.argmax(axis=1)]
        return JsonAnswer(ToyAnswer(model=endpoint.id, labels=labels).model_dump())

    return router


def _prepared(text: str, endpoint: Endpoint) -> Callable[[], Awaitable[TextBatch]]:
    async def prepare() -> TextBatch:
        batch = TextBatch()
        limit = Limit("text", TAGGING.max_length or 1, "the task's record")
        (tokens,) = await read_texts([text], endpoint.info.tokenizer, limit)
        batch.add_text(tokens)
        return batch

    return prepare


TOY = ServerTask(TAGGING.name, toy_router, partial(classification_engine, "tag"))
