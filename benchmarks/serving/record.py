"""What happened to each request of a load, and the figures that are made of it.

The names of the figures are those of `vllm bench serve`, so that both can be laid side by side. All latencies count
from the time at which a request was due (`scheduled`), not from when it was sent: a server that stalls is not excused
from the requests that could not be sent meanwhile. In a closed loop a request is due when its client has the answer
to the last one.

- TTFT, time to first token: until the first event that has tokens. Of streams alone.
- E2EL, end-to-end latency: until the last byte that carries text.
- TPOT, time per output token after the first: (E2EL - TTFT) / (tokens - 1). Of streams of at least two tokens.
- ITL, inter-token latency: between one event with tokens and the next, however many tokens they have.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PERCENTILES = (50, 90, 99)
LATENCIES = ("ttft", "tpot", "itl", "e2el")


@dataclass(slots=True)
class Record:
    """One request. Times are seconds by time.perf_counter.

    Attributes:
        scheduled: when it was due.
        sent: when it was sent.
        event_times: of a stream, when each event with tokens came.
        event_tokens: tokens of each of these events.
        end: when the answer was whole.
        prompt_tokens: tokens read.
        output_tokens: tokens that the answer has.
        status: HTTP's; 0 without an answer.
        error: why it failed, or None.
    """

    scheduled: float
    sent: float
    event_times: list[float] = field(default_factory=list)
    event_tokens: list[int] = field(default_factory=list)
    end: float = 0.0
    prompt_tokens: int = 0
    output_tokens: int = 0
    status: int = 0
    error: str | None = None

    @property
    def ttft(self) -> float | None:
        """Seconds; None when it was not streamed or has no tokens."""
        return self.event_times[0] - self.scheduled if self.event_times else None

    @property
    def e2el(self) -> float:
        """Seconds."""
        return self.end - self.scheduled

    @property
    def tpot(self) -> float | None:
        """Seconds; None when it was not streamed or has less than two tokens."""
        if not self.event_times or self.output_tokens < 2:
            return None
        return (self.end - self.event_times[0]) / (self.output_tokens - 1)

    @property
    def itls(self) -> list[float]:
        """Seconds; one less than there are events."""
        return np.diff(self.event_times).tolist()

    def is_within(self, limits: Mapping[str, float]) -> bool:
        """Whether its latencies are within these limits.

        Args:
            limits: milliseconds, by "ttft", "tpot" or "e2el"; a latency that the request does not have is no offence.
        """
        found = {"ttft": self.ttft, "tpot": self.tpot, "e2el": self.e2el}
        return all(value is None or value * 1e3 <= limits[name] for name, value in found.items() if name in limits)


def summary(
    records: Sequence[Record], seconds: float | None = None, limits: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """The figures of a load.

    Args:
        records: its requests.
        seconds: how long it took; None: from the first request's being due to the last answer.
        limits: what counts as good (Record.is_within); None: every answer is.

    Returns:
        By the names of `vllm bench serve`; rates are per second of `seconds`, latencies of answered requests in
        milliseconds, None where there are none. `statuses` is ours: how many requests had each HTTP status.

    Raises:
        ValueError: a limit is of something else than ttft, tpot and e2el.
    """
    limits = limits or {}
    if unknown := set(limits) - {"ttft", "tpot", "e2el"}:
        raise ValueError(f"limits of {', '.join(sorted(unknown))}; there are ttft, tpot and e2el")
    answered = [record for record in records if record.error is None]
    if seconds is None:
        seconds = max((r.end for r in records), default=0.0) - min((r.scheduled for r in records), default=0.0)
    input_tokens = sum(record.prompt_tokens for record in answered)
    output_tokens = sum(record.output_tokens for record in answered)
    per_second = 1 / seconds if seconds else 0.0
    statuses: dict[str, int] = {}
    for record in records:
        statuses[str(record.status)] = statuses.get(str(record.status), 0) + 1
    return {
        "duration": seconds,
        "completed": len(answered),
        "failed": len(records) - len(answered),
        "statuses": dict(sorted(statuses.items())),
        "total_input_tokens": input_tokens,
        "total_output_tokens": output_tokens,
        "request_throughput": len(answered) * per_second,
        "request_goodput": sum(record.is_within(limits) for record in answered) * per_second,
        "output_throughput": output_tokens * per_second,
        "total_token_throughput": (input_tokens + output_tokens) * per_second,
        "max_concurrent_requests": max_concurrent(records),
        **_latencies("ttft", (record.ttft for record in answered)),
        **_latencies("tpot", (record.tpot for record in answered)),
        **_latencies("itl", (gap for record in answered for gap in record.itls)),
        **_latencies("e2el", (record.e2el for record in answered)),
        **_latencies("client_queue", (record.sent - record.scheduled for record in records)),
    }


def max_concurrent(records: Iterable[Record]) -> int:
    """The most requests that were out at once, from sending to the end; one that ends makes room first."""
    changes = sorted(change for record in records for change in ((record.sent, 1), (record.end, -1)))
    out = np.cumsum([change for _, change in changes])
    return int(out.max()) if len(out) else 0


def _latencies(name: str, seconds: Iterable[float | None]) -> dict[str, float | None]:
    """Mean, median, standard deviation and percentiles, in milliseconds."""
    values = np.array([value for value in seconds if value is not None]) * 1e3
    if not len(values):
        return {f"{what}_{name}_ms": None for what in ("mean", "median", "std", *(f"p{p}" for p in PERCENTILES))}
    return {
        f"mean_{name}_ms": float(values.mean()),
        f"median_{name}_ms": float(np.median(values)),
        f"std_{name}_ms": float(values.std()),
        **{f"p{p}_{name}_ms": float(np.percentile(values, p)) for p in PERCENTILES},
    }
