"""Models of text asked by tensors: texts come and go as BYTES in UTF-8, one for each entry of `text_input`.

A request's parameters are the fields of the task's own endpoint; with the same seed the text is the same.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from runtime.runner import Array
from server.admission import MAX_SHORT_TEXTS, MAX_TEXTS, read_texts
from server.api.generate import Answering, GenerateRequest, model_of
from server.api.inference.tensors import PROTOCOL_PARAMETERS, TEXT, Asked, Parameters
from server.api.sentiment import logits_of, probabilities_of
from server.api.tag import Source, TagRequest, tagged
from server.api.translate import TranslateRequest, translated
from server.endpoint import Endpoint, TensorInfo, TensorTask
from server.errors import FieldError, shown
from server.http.access import json_of
from server.http.body import checked, request_from
from server.service import Service

INPUT, OUTPUT = "text_input", "text_output"


class TextRequest(BaseModel):
    """One text to a model that answers with text. Further fields are parameters, too."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    id: Annotated[str, Field(max_length=256)] | None = Field(None, description="Returned as it is.")
    text_input: Annotated[str, Field(min_length=1)]
    parameters: Parameters = Field(default_factory=dict, description="Fields of the task's own endpoint.")


_TEXT_INPUT = [TensorInfo(INPUT, "BYTES", [-1])]


def asked_from_text(body: bytes) -> Asked:
    """A request of the generate extension as one of tensors. Raises BadJsonError, FieldError."""
    head = request_from(TextRequest, body)
    parameters = {**(head.model_extra or {}), **head.parameters}
    if not isinstance(parameters.pop("stream", False), bool):  # the path says whether it is
        raise FieldError("stream: must be true or false, and the path decides; leave it out.", param="stream")
    return Asked(head.id, parameters, {INPUT: bytes_tensor([head.text_input])}, None, False)


def bytes_tensor(texts: Sequence[str]) -> Array:
    """Texts as a tensor of BYTES, [n]."""
    found = np.empty(len(texts), object)
    found[:] = [text.encode() for text in texts]
    return found


def _texts_from(asked: Asked, most: int) -> list[str]:
    """The texts of a request. Raises FieldError."""
    for name in asked.inputs:
        if name != INPUT:
            raise FieldError(f"The model has no input {shown(name)}. Inputs: {INPUT}.", param="inputs")
    if INPUT not in asked.inputs:
        raise FieldError(f"Input {INPUT} is missing.", param="inputs")
    values = asked.inputs[INPUT]
    if values.dtype != TEXT:
        raise FieldError(f"Input {INPUT} holds numbers; its datatype is BYTES, texts in UTF-8.", param="inputs")
    if values.ndim != 1 or not 1 <= len(values) <= most:
        raise FieldError(
            f"Input {INPUT} has shape {list(values.shape)}; it is [texts], 1 to {most} of them. Send several requests.",
            param="inputs",
        )
    texts = []
    for number, value in enumerate(values.tolist()):
        try:
            texts.append(value.decode())
        except UnicodeDecodeError:
            raise FieldError(f"Input {INPUT}: text {number} is not UTF-8.", param="inputs") from None
    return texts


def _request_from(
    kind: type[BaseModel], field: str, texts: Sequence[str], asked: Asked, left_out: set[str], **more: Any
) -> Any:
    """A request of the task's own endpoint.

    Args:
        kind: its class.
        field: of the texts.
        texts: they.
        asked: whose parameters are the other fields.
        left_out: fields that are no parameters.
        more: fields to be set.

    Raises:
        FieldError: a parameter is unknown, or wrong.
    """
    allowed = [name for name in kind.model_fields if name not in {field, *left_out, *more}]
    given = {name: value for name, value in asked.parameters.items() if name not in PROTOCOL_PARAMETERS}
    for name in given:
        if name not in allowed:
            known = ", ".join([*allowed, *PROTOCOL_PARAMETERS])
            raise FieldError(f"Unknown parameter {shown(name)}. Parameters: {known}.", param=name)
    return checked(kind, {**given, field: list(texts), **more})


def _generation(service: Service, endpoint: Endpoint, request: Request, asked: Asked, **more: Any) -> Answering:
    """A request's generation. Raises ApiError."""
    texts = _texts_from(asked, MAX_TEXTS)
    left_out = {"n", "logprobs", "stream"}
    wanted = _request_from(GenerateRequest, "prompt", texts, asked, left_out, model=endpoint.id, **more)
    model_of(service, wanted)  # a session is of one model
    return Answering(service, endpoint, request, wanted)


async def _generated(service: Service, endpoint: Endpoint, request: Request, asked: Asked) -> Mapping[str, Array]:
    answering = _generation(service, endpoint, request, asked)
    ended, seed = await answering.finished(lambda generation, ended, _: (ended, generation.seed))
    return {
        OUTPUT: bytes_tensor([output.text for output in ended]),
        "finish_reason": bytes_tensor([output.finish_reason or "" for output in ended]),
        "seed": np.full(len(ended), seed, np.int64),
    }


async def _streamed(
    service: Service, endpoint: Endpoint, request: Request, asked: Asked
) -> AsyncGenerator[dict[str, Any]]:
    answering = _generation(service, endpoint, request, asked, stream=True)
    async with contextlib.aclosing(answering.events()) as events:
        async for event in events:
            (choice,) = event["choices"]
            yield {OUTPUT: choice["text"], "finish_reason": choice["finish_reason"], "seed": event["seed"]}


async def _translated(service: Service, endpoint: Endpoint, request: Request, asked: Asked) -> Mapping[str, Array]:
    texts = _texts_from(asked, MAX_TEXTS)
    left_out = {"alternatives", "alignment", "stream"}
    wanted = _request_from(TranslateRequest, "text", texts, asked, left_out, model=endpoint.id)
    found = (await translated(service, request, wanted))["translations"]
    return {
        OUTPUT: bytes_tensor([each["text"] for each in found]),
        "score": np.array([each["score"] for each in found], np.float32),
        "finish_reason": bytes_tensor([each["finish_reason"] for each in found]),
        "warnings": bytes_tensor([json_of(each.get("warnings") or []).decode() for each in found]),
    }


async def _classified(service: Service, endpoint: Endpoint, request: Request, asked: Asked) -> Mapping[str, Array]:
    texts = _texts_from(asked, MAX_SHORT_TEXTS)
    _request_from(_NoParameters, "text", texts, asked, set())

    async def read(hold: Callable[[int], None]) -> list[list[int]]:
        return await read_texts(texts, endpoint.model.tokenizer, endpoint.limit, hold)

    logits = await logits_of(service, endpoint, request, read)
    scores = np.stack([probabilities_of(each) for each in logits])
    best = scores.argmax(axis=1)
    return {
        "label": bytes_tensor([endpoint.model.labels[i] for i in best.tolist()]),
        "score": scores[np.arange(len(best)), best].astype(np.float32),
        "scores": scores.astype(np.float32),
    }


class _NoParameters(BaseModel):
    """Of a classifier, which has none of its own."""

    text: list[str]


async def _tagged(service: Service, endpoint: Endpoint, request: Request, asked: Asked) -> Mapping[str, Array]:
    texts = _texts_from(asked, MAX_SHORT_TEXTS)
    wanted: TagRequest = _request_from(TagRequest, "text", texts, asked, {"model", "tokens"})

    def answer(sources: list[Source]) -> dict[str, Array]:
        units = [
            (number, unit)
            for number, source in enumerate(sources)
            for sentence in source.labelled(wanted.aggregation)
            for unit in sentence
        ]
        return {
            "text_index": np.array([number for number, _ in units], np.int64),
            "start": np.array([unit.start for _, unit in units], np.int64),
            "end": np.array([unit.end for _, unit in units], np.int64),
            "label": bytes_tensor([unit.label for _, unit in units]),
            "score": np.array([unit.score for _, unit in units], np.float32),
        }

    return await tagged(service, endpoint, request, texts, "text", answer)


_NAMES = {"prompt": INPUT, "text": INPUT}
GENERATION_TENSORS = TensorTask(
    inputs=lambda _: _TEXT_INPUT,
    outputs=lambda _: [
        TensorInfo(OUTPUT, "BYTES", [-1]),
        TensorInfo("finish_reason", "BYTES", [-1]),
        TensorInfo("seed", "INT64", [-1]),
    ],
    answer=_generated,
    stream=_streamed,
    names=_NAMES,
)
TRANSLATION_TENSORS = TensorTask(
    inputs=lambda _: _TEXT_INPUT,
    outputs=lambda _: [
        TensorInfo(OUTPUT, "BYTES", [-1]),
        TensorInfo("score", "FP32", [-1]),
        TensorInfo("finish_reason", "BYTES", [-1]),
        TensorInfo("warnings", "BYTES", [-1]),
    ],
    answer=_translated,
    names=_NAMES,
)
SENTIMENT_TENSORS = TensorTask(
    inputs=lambda _: _TEXT_INPUT,
    outputs=lambda model: [
        TensorInfo("label", "BYTES", [-1]),
        TensorInfo("score", "FP32", [-1]),
        TensorInfo("scores", "FP32", [-1, len(model.labels)]),
    ],
    answer=_classified,
    names=_NAMES,
)
TAGGING_TENSORS = TensorTask(
    inputs=lambda _: _TEXT_INPUT,
    outputs=lambda _: [
        TensorInfo("text_index", "INT64", [-1]),
        TensorInfo("start", "INT64", [-1]),
        TensorInfo("end", "INT64", [-1]),
        TensorInfo("label", "BYTES", [-1]),
        TensorInfo("score", "FP32", [-1]),
    ],
    answer=_tagged,
    names=_NAMES,
)
