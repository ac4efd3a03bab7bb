"""What every request of a task goes through: its body, the token ids of its texts, a permit, its work in the engine,
and an end to that work in any case.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, WithJsonSchema
from starlette.requests import Request

from models.tokenizer import Tokenizer
from server.endpoint import Endpoint, Limit
from server.engine.request import EngineRequest
from server.errors import ApiError, BadJsonError, ClientGoneError, DeadlineError, FieldError
from server.http.access import record_of
from server.http.body import (
    HEADER,
    Asked,
    check_charset,
    form_type_of,
    read_body,
    request_from,
    timeout_seconds,
)
from server.http.limits import SMALL_BODY
from server.service import Service

Work = TypeVar("Work", bound=EngineRequest[Any, Any])
Parsed = TypeVar("Parsed")
_LONG = 4096  # characters; tokenizing more at once would hold up the event loop


def texts_from(most: int, value: Any) -> tuple[str, ...]:
    """One string or a list of strings, none empty, as a tuple. Raises ValueError with a plain sentence."""
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be a string or a list of strings")
    if not 1 <= len(texts) <= most:
        parts = f"; send them in requests of at most {most}" if texts else ""
        raise ValueError(f"{len(texts)} strings; 1 to {most} are allowed{parts}")
    if value == "":
        raise ValueError("is empty; it needs at least one character")
    if "" in texts:
        raise ValueError(f"string {texts.index('')} is empty; each needs at least one character")
    return tuple(texts)


def texts_schema(most: int) -> dict[str, Any]:
    """What `texts_from` allows, as a JSON schema."""
    text = {"type": "string", "minLength": 1}
    return {"anyOf": [text, {"type": "array", "items": text, "minItems": 1, "maxItems": most}]}


MAX_TEXTS, MAX_SHORT_TEXTS = 64, 256
Texts = Annotated[
    tuple[str, ...], BeforeValidator(partial(texts_from, MAX_TEXTS)), WithJsonSchema(texts_schema(MAX_TEXTS))
]
ShortTexts = Annotated[
    tuple[str, ...],
    BeforeValidator(partial(texts_from, MAX_SHORT_TEXTS)),
    WithJsonSchema(texts_schema(MAX_SHORT_TEXTS)),
]


async def asked_of(service: Service, request: Request, kind: type[Asked], task: str, no_body: bytes = b"") -> Asked:
    """A request's body as an object of the class `kind`; `no_body` is what an empty one means. As `parsed_body`."""
    return await parsed_body(service, request, task, lambda body: request_from(kind, body or no_body))


async def parsed_body(service: Service, request: Request, task: str, parse: Callable[[bytes], Parsed]) -> Parsed:
    """A request's body as what `parse` makes of it.

    The task is noted in the request's record. Raises as `read_body`, `check_charset` and `parse`, and UnavailableError
    where the service is not ready once the body is here. What `parse` calls no JSON is named a form where it is one.
    """
    record_of(request).task = task
    body = await read_body(request, service.settings, service.bodies)
    service.check_ready()
    check_charset(request)
    try:
        return parse(body) if len(body) <= SMALL_BODY else await service.in_turn(lambda: parse(body))
    except BadJsonError:
        form_type = form_type_of(request)
        if form_type is None or body.lstrip()[:1] in (b"{", b"["):  # curl calls JSON a form; what is wrong is the JSON
            raise
        raise BadJsonError(
            f"The body is a form ({form_type}), and this path reads JSON. Send one JSON object, with the header "
            "content-type: application/json."
        ) from None


async def read_texts(
    texts: Sequence[str], tokenizer: Tokenizer, limit: Limit, hold: Callable[[int], None] = lambda _: None
) -> list[list[int]]:
    """Tokenize texts.

    Args:
        texts: one at least.
        tokenizer: of the model.
        limit: of each text.
        hold: called with the fewest tokens that the texts can have, before they are counted; may raise an ApiError.

    Returns:
        The ids of each text, at least one.

    Raises:
        FieldError: a text is too long, or nothing of it is left for the model to read.
    """
    check_characters(texts, tokenizer, limit, hold)
    if sum(map(len, texts)) > _LONG:
        all_ids = await asyncio.to_thread(lambda: [tokenizer.encode(text) for text in texts])
    else:
        all_ids = [tokenizer.encode(text) for text in texts]
    check_tokens(texts, list(map(len, all_ids)), limit)
    for i, ids in enumerate(all_ids):
        if not ids:
            raise FieldError(
                f"{_name(limit.field, texts, i)} holds nothing that the model's tokenizer knows.", param=limit.field
            )
    return all_ids


async def beside_loop(work: Callable[[], Parsed], *, is_long: bool) -> Parsed:
    """The result of work on texts, done in a thread where it is so long that it would hold up the event loop."""
    return await asyncio.to_thread(work) if is_long else work()


def check_characters(
    texts: Sequence[str], tokenizer: Tokenizer, limit: Limit, hold: Callable[[int], None] = lambda _: None
) -> None:
    """Refuse texts that are too long however few tokens they have; arguments as for `read_texts`. Raises ApiError."""
    least = [-(-len(text) // tokenizer.max_characters_per_token) for text in texts]
    for i, text in enumerate(texts):
        if least[i] > limit.tokens:
            raise _too_long(texts, i, f"at least {least[i]} (from its {len(text)} characters)", limit)
    hold(sum(least))


def check_tokens(texts: Sequence[str], counts: Sequence[int], limit: Limit) -> None:
    """Refuse texts with too many tokens, each with as many as counted. Raises FieldError."""
    for i, count in enumerate(counts):
        if count > limit.tokens:
            raise _too_long(texts, i, str(count), limit)


def check_ids(ids: Iterable[int], tokenizer: Tokenizer, param: str) -> None:
    """Refuse token ids, 0 or more, that a model does not have. Raises FieldError."""
    largest = max(ids, default=0)
    if largest >= tokenizer.vocab_size:
        raise FieldError(
            f"{param}: the model has no token {largest}; its ids are 0 to {tokenizer.vocab_size - 1}.", param=param
        )


def num_unknown_of(prompts: Sequence[str], all_ids: Sequence[Sequence[int]], tokenizer: Tokenizer) -> int:
    """How many characters of the prompts the tokenizer, which made their ids, does not know.

    Raises:
        FieldError: a prompt holds no character that the model knows.
    """
    counts = [tokenizer.num_unknown(prompt, ids) for prompt, ids in zip(prompts, all_ids, strict=True)]
    for i, (ids, count) in enumerate(zip(all_ids, counts, strict=True)):
        if tokenizer.unknown_id is not None and count == len(ids):
            raise FieldError(
                f"{_name('prompt', prompts, i)} holds no character that the model knows, so there is nothing to "
                "continue.",
                param="prompt",
            )
    return sum(counts)


def _too_long(texts: Sequence[str], i: int, found: str, limit: Limit) -> FieldError:
    return FieldError(
        f"{_name(limit.field, texts, i)} has {found} tokens; at most {limit.tokens} are allowed ({limit.setting}).",
        param=limit.field,
    )


def _name(field: str, texts: Sequence[str], i: int) -> str:
    return field if len(texts) == 1 else f"{field} {i}"


@asynccontextmanager
async def working(
    service: Service,
    endpoint: Endpoint,
    request: Request,
    prepare: Callable[[Callable[[int], None]], Awaitable[Work]],
) -> AsyncIterator[Work]:
    """Hold a permit of the model while its engine works on a request; leaving the block ends its work.

    Args:
        service: says how long a request may take.
        endpoint: the model, which is noted in the request's record.
        request: its body has been read. Its client may leave: then the output queue raises ClientGoneError, and the
            engine drops the request.
        prepare: reads the texts and gives what the engine works on; called with the permit taken, and with a function
            that is to be called with how many tokens the request needs at least, as soon as that is known. It must be
            done within the request's time.

    Raises:
        ApiError: no permit is free, the texts cannot be read, the engine takes no requests, or the request's time is
            over.
    """
    record = record_of(request)
    record.model = endpoint.id
    seconds = timeout_seconds(request, service.settings.request_timeout_ms)
    seconds = seconds if record.most_seconds is None else min(seconds, record.most_seconds)
    endpoint.limiter.take(record)
    work: Work | None = None

    def hold(num_tokens: int) -> None:
        endpoint.limiter.take_tokens(record, num_tokens, endpoint.limit.field)

    def late() -> DeadlineError:
        error = _late(seconds)
        endpoint.metrics.cancelled(error)
        return error

    try:
        try:
            async with asyncio.timeout(record.started + seconds - time.perf_counter()):
                work = await prepare(hold)
        except TimeoutError:
            raise late() from None
        hold(work.num_tokens)
        work.id = record.request_id
        endpoint.metrics.prompt_tokens.inc(record.prompt_tokens)
        remaining = record.started + seconds - time.perf_counter()
        if remaining <= 0:
            raise late()
        endpoint.engine.submit(work)

        def end(error: ApiError | ClientGoneError) -> None:
            endpoint.engine.cancel(work)  # at once, even while an event is being sent
            work.outputs.put(error)

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            end(ClientGoneError("The client left."))

        timer = asyncio.get_running_loop().call_later(remaining, lambda: end(_late(seconds)))
        watching = asyncio.create_task(watch())
        try:
            yield work
        except BaseException as error:  # also a client that leaves and a stream that is closed
            endpoint.engine.cancel(work)
            endpoint.metrics.cancelled(error)
            if isinstance(error, ApiError):
                record.error = error.code
            raise
        finally:
            timer.cancel()
            watching.cancel()
        record.times = work.times
        endpoint.metrics.ended(record.started, work.times, record.completion_tokens, len(work.items))
    finally:
        endpoint.limiter.give_back(record)
        if work is not None:
            work.items.clear()  # they refer to it: it is freed at once, not by the garbage collector


def _late(seconds: float) -> DeadlineError:
    message = f"The request was not done after {round(seconds * 1000)} ms."
    return DeadlineError(f"{message} Ask for less, try again later, or send a larger {HEADER}.")
