"""POST /v1/sentiment: from a checked request to an answer."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.responses import Response

from models.config import FrozenModel
from server.admission import ShortTexts, asked_of, beside_loop, read_texts, working
from server.api.description import described
from server.endpoint import Endpoint, Registry
from server.engine.classification.request import TextBatch, TextResult
from server.errors import FieldError
from server.http.access import JsonAnswer, PlainRoute, new_id, record_of
from server.service import Service
from server.text.languages import Code, main_script, name_of

TASK = "sentiment"
UNCERTAIN = "uncertain"
_LONG = 4096  # characters of a request; to look at more at once would hold up the event loop


class SentimentRequest(FrozenModel):
    """Classify one or several texts."""

    model: str | None = Field(None, description='"name" (highest version) or "name/2".')
    text: ShortTexts = Field(description="The text to classify, or several.")
    language: Code | None = Field(
        None,
        description="Language of the texts (ISO 639-1), which chooses the model where none is named; without it each "
        "text goes to the model that reads its script.",
    )
    all_scores: bool = Field(False, description="Return the score of every label.")
    threshold: Annotated[
        float, Field(ge=0, le=1, description='A text whose likeliest label has a lower score is labelled "uncertain".')
    ] = 0.0


class SentimentResult(BaseModel):
    """One text's label."""

    label: str = Field(description='The likeliest, or "uncertain" where its score is below the threshold.')
    score: float = Field(description="The likeliest one's probability.")
    scores: dict[str, float] | None = Field(None, description="The probability of each label, if asked for.")
    model: str | None = Field(None, description="Which model answered, where several did.")


class SentimentUsage(BaseModel):
    """What was counted."""

    tokens: int


class SentimentAnswer(BaseModel):
    """The answer."""

    id: str
    model: str = Field(description="name/version of the model that answered; of several, the first text's.")
    results: list[SentimentResult] = Field(description="In the order of the texts.")
    usage: SentimentUsage


_EXAMPLE = {"text": ["A warm, funny and clever film.", "I want my two hours back."], "all_scores": True}


def sentiment_router(service: Service) -> APIRouter:
    """The route of sentiment."""
    router = APIRouter(tags=["sentiment"], route_class=PlainRoute)

    @router.post(
        "/v1/sentiment",
        summary="Classify a text",
        **described(SentimentRequest, SentimentAnswer, _EXAMPLE, is_timed=True),
    )
    async def sentiment(request: Request) -> Response:
        """The likeliest label of each text and its probability; with `all_scores`, every label's."""
        asked = await asked_of(service, request, SentimentRequest, TASK)
        chosen = await beside_loop(lambda: _chosen(service.registry, asked), is_long=_is_long(asked))
        record = record_of(request)
        results: list[dict[str, Any]] = [{}] * len(asked.text)
        num_tokens = 0
        for endpoint in dict.fromkeys(chosen):
            numbers = [number for number, other in enumerate(chosen) if other is endpoint]
            read = partial(read_texts, [asked.text[i] for i in numbers], endpoint.model.tokenizer, endpoint.limit)
            logits = await logits_of(service, endpoint, request, read)
            num_tokens += record.prompt_tokens
            for number, values in zip(numbers, logits, strict=True):
                results[number] = _result(softmax(values), endpoint.model.labels, asked)
        if len(set(chosen)) > 1:
            for result, endpoint in zip(results, chosen, strict=True):
                result["model"] = endpoint.id
        record.prompt_tokens = num_tokens
        return JsonAnswer(
            {"id": f"sen-{new_id()}", "model": chosen[0].id, "results": results, "usage": {"tokens": num_tokens}}
        )

    return router


def _is_long(asked: SentimentRequest) -> bool:
    """Whether choosing the models would hold up the event loop."""
    return asked.language is not None or sum(map(len, asked.text)) > _LONG


def _chosen(registry: Registry, asked: SentimentRequest) -> list[Endpoint]:
    """The model of each text. Raises FieldError, ModelNotFoundError."""
    models = [item for item in registry.by_name if item.model.task == TASK]
    if asked.language is not None:
        named = models if asked.model is None else [registry.find(TASK, asked.model)]
        fitting = [item for item in named if item.vocabulary.is_of(asked.language)]
        if not fitting:
            listed = ", ".join(f"{item.id} reads {name_of(item.vocabulary.language)}" for item in named) or "none"
            raise FieldError(
                f"No sentiment model for {name_of(asked.language)} ({asked.language}) is loaded; {listed}. "
                "Leave language out, or load such a model.",
                param="language",
                code="languages_not_served",
            )
        return [_only_or_default(registry, fitting)] * len(asked.text)
    if asked.model is not None or len(models) < 2:
        return [registry.find(TASK, asked.model)] * len(asked.text)
    by_script = {script: _of_script(registry, models, script) for script in set(map(main_script, asked.text))}
    return [by_script[main_script(text)] for text in asked.text]


def _of_script(registry: Registry, models: list[Endpoint], script: str | None) -> Endpoint:
    """The model for texts in a script; of several, or where none reads it, the default. Raises FieldError."""
    fitting = [item for item in models if script is not None and item.vocabulary.reads(script)]
    return _only_or_default(registry, fitting or models)


def _only_or_default(registry: Registry, fitting: list[Endpoint]) -> Endpoint:
    """Raises FieldError: there are several, and none of them is the default."""
    several = f"{len(fitting)} {TASK} models are loaded"
    return registry.only_or_default(TASK, fitting, several, lambda item: item in fitting)


async def logits_of(
    service: Service,
    endpoint: Endpoint,
    request: Request,
    read: Callable[[Callable[[int], None]], Awaitable[list[list[int]]]],
) -> list[NDArray[np.float32]]:
    """Classify texts.

    Args:
        service: of the app.
        endpoint: the model.
        request: its body has been read.
        read: gives the ids of each text; called as the `prepare` of `working`.

    Returns:
        Of each text in order its logits, float32 [C].

    Raises:
        ApiError: what `read` or `working` raises.
    """
    num_texts = 0

    async def classification(hold: Callable[[int], None]) -> TextBatch:
        nonlocal num_texts
        texts = await read(hold)
        num_texts, record_of(request).prompt_tokens = len(texts), sum(map(len, texts))
        batch = TextBatch()
        for tokens in texts:
            batch.add_text(tokens)
        return batch

    async with working(service, endpoint, request, classification) as work:
        found: list[TextResult] = []
        while len(found) < num_texts:
            found += await work.outputs.get()
    found.sort(key=lambda result: result.number)
    return [result.logits for result in found]


def probabilities_of(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities, float64 [C], of one text's logits, float32 [C]."""
    z = logits.astype(np.float64)
    weights = np.exp(z - z.max())
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities


def softmax(logits: NDArray[np.float32]) -> list[float]:
    """As `probabilities_of`."""
    found: list[float] = probabilities_of(logits).tolist()
    return found


def _result(probabilities: list[float], labels: Sequence[str], asked: SentimentRequest) -> dict[str, Any]:
    """One text's entry; of equally likely labels the first."""
    best = max(range(len(labels)), key=lambda i: probabilities[i])
    score = probabilities[best]
    result: dict[str, Any] = {"label": labels[best] if score >= asked.threshold else UNCERTAIN, "score": score}
    if asked.all_scores:
        result["scores"] = dict(zip(labels, probabilities, strict=True))
    return result
