"""How a tagger is asked over HTTP: POST /v1/toy, one label for each token of a text."""

from collections.abc import Callable
from functools import partial

from fastapi import APIRouter, Request
from pydantic import BaseModel
from starlette.responses import Response

from models.config import FrozenModel
from server.admission import asked_of, read_texts, working
from server.api.description import described
from server.endpoint import Limit, ServerTask
from server.engine.classification.request import TextBatch
from server.http.access import JsonAnswer, PlainRoute
from server.service import Service
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
        asked = await asked_of(service, request, ToyRequest, TAGGING.name)
        endpoint = service.registry.find(TAGGING.name, asked.model)

        async def prepared(hold: Callable[[int], None]) -> TextBatch:
            batch = TextBatch()
            (tokens,) = await read_texts([asked.text], endpoint.model.tokenizer, endpoint.limit, hold)
            batch.add_text(tokens)
            return batch

        async with working(service, endpoint, request, prepared) as batch:
            (found,) = await batch.outputs.get()
        labels = [endpoint.model.labels[i] for i in found.logits.argmax(axis=1)]
        return JsonAnswer(ToyAnswer(model=endpoint.id, labels=labels).model_dump())

    return router


LIMIT = Limit("text", TAGGING.max_length or 1, "the task's record")
TOY = ServerTask(TAGGING.name, toy_router, partial(classification_engine, "tag"), lambda _: LIMIT)
