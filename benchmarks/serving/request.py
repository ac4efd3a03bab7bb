"""A request of a load: what is sent, and how its answer is counted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

from benchmarks.serving.client import Client
from benchmarks.serving.record import Record


class Count(NamedTuple):
    """What an answer, or an event of a stream, says of tokens.

    Attributes:
        num_tokens: that it has; of a whole answer all.
        prompt_tokens: that were read; 0 where it does not say.
        output_tokens: of the whole stream, where an event says it; 0 where it does not.
        error: why the request failed, or None.
    """

    num_tokens: int
    prompt_tokens: int = 0
    output_tokens: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        path: such as /v1/generate.
        body: JSON.
        count: of the JSON of an answer with status 200, or of each event of a stream.
        is_streamed: whether the body asks for a stream.
        headers: more headers.
    """

    path: str
    body: bytes
    count: Callable[[bytes], Count]
    is_streamed: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


NextRequest = Callable[[int], Request]  # from its number, which counts from 0 in the order of sending


async def send(client: Client, request: Request, scheduled: float) -> Record:
    """Send a request and keep what came of it. Connection errors are in the record.

    Args:
        client: a usable connection.
        request: what to send.
        scheduled: when it was due, by time.perf_counter.
    """
    record = Record(scheduled, perf_counter())
    try:
        if request.is_streamed:
            record.status, _, events = await client.stream(request.path, request.body, request.headers)
        else:
            record.status, _, answer = await client.post(request.path, request.body, request.headers)
    except (OSError, ValueError) as error:
        record.end = perf_counter()
        record.error = f"{type(error).__name__}: {error}"
        return record
    record.end = perf_counter()
    if record.status != 200:
        record.error = f"status {record.status}: {(events[0].data if request.is_streamed else answer)[:200]!r}"
    elif request.is_streamed:
        for event in events:
            count = request.count(event.data)
            record.error = record.error or count.error
            record.prompt_tokens += count.prompt_tokens
            record.output_tokens += count.output_tokens
            if count.num_tokens:
                record.event_times.append(event.time)
                record.event_tokens.append(count.num_tokens)
        if events:
            record.end = events[-1].time
        record.output_tokens = record.output_tokens or sum(record.event_tokens)
    else:
        count = request.count(answer)
        record.prompt_tokens, record.output_tokens, record.error = count.prompt_tokens, count.num_tokens, count.error
    return record
