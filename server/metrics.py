"""What the server counts, in a registry of its own. Names begin with rnnserve_; units are base units.

Labels are few and bounded: `model` is always the id of a loaded model or empty, never what a client wrote.
"""

import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from server.engine.engine import Gauges
from server.engine.outputs import Times
from server.errors import ClientGoneError, DeadlineError

DURATION_BUCKETS = tuple(round(1e-5 * 1.5**i, 9) for i in range(36))  # 10 us, each 1.5 times the one before, to 15 s
SIZE_BUCKETS = tuple(2**i for i in range(13))  # 1, 2, 4 ... 4096


class Metrics:
    """All metrics of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "rnnserve_requests", "Requests answered, by HTTP status.", ["model", "status"], registry=self.registry
        )
        self._rejections = Counter(
            "rnnserve_requests_rejected",
            "Requests answered with an error, by its code.",
            ["reason"],
            registry=self.registry,
        )
        self._duration = Histogram(
            "rnnserve_request_duration_seconds",
            "From the request's head to the last byte of its answer.",
            ["model"],
            buckets=DURATION_BUCKETS,
            registry=self.registry,
        )
        self._requests_running = Gauge(
            "rnnserve_requests_running", "Requests that hold a permit.", ["model"], registry=self.registry
        )
        self._rows_running = Gauge(
            "rnnserve_rows_running",
            "Rows that run together now; a beam takes its whole width.",
            ["model"],
            registry=self.registry,
        )
        self._rows_waiting = Gauge(
            "rnnserve_rows_waiting", "Rows waiting to be read or for a place.", ["model"], registry=self.registry
        )
        self._prompt_tokens = Counter(
            "rnnserve_prompt_tokens",
            "Tokens of the prompts and texts of requests taken on.",
            ["model"],
            registry=self.registry,
        )
        self._generated_tokens = Counter(
            "rnnserve_generated_tokens",
            "Tokens generated, in a beam those of every hypothesis.",
            ["model"],
            registry=self.registry,
        )
        self._batch_size = Histogram(
            "rnnserve_batch_size",
            "Rows of each decoding step; for sentiment, texts of each call.",
            ["model"],
            buckets=SIZE_BUCKETS,
            registry=self.registry,
        )
        self._step_duration = Histogram(
            "rnnserve_step_duration_seconds",
            "Time of each decoding step, choosing the tokens included; for sentiment, of each call.",
            ["model"],
            buckets=DURATION_BUCKETS,
            registry=self.registry,
        )
        self._prefill_duration = Histogram(
            "rnnserve_prefill_duration_seconds",
            "Time of each call that reads prompts or encodes sources.",
            ["model"],
            buckets=DURATION_BUCKETS,
            registry=self.registry,
        )
        self._queue_duration = Histogram(
            "rnnserve_queue_duration_seconds",
            "From the request's head to the first call that works on it.",
            ["model"],
            buckets=DURATION_BUCKETS,
            registry=self.registry,
        )
        self._first_token = Histogram(
            "rnnserve_time_to_first_token_seconds",
            "From the request's head to its first token.",
            ["model"],
            buckets=DURATION_BUCKETS,
            registry=self.registry,
        )
        self._per_token = Histogram(
            "rnnserve_time_per_token_seconds",
            "Between the tokens of an answer after its first, the mean; several texts count as one.",
            ["model"],
            buckets=DURATION_BUCKETS,
            registry=self.registry,
        )
        self._cancellations = Counter(
            "rnnserve_requests_cancelled",
            "Requests whose work was dropped before its end: client_gone, deadline, or error.",
            ["model", "reason"],
            registry=self.registry,
        )
        self._padding = Histogram(
            "rnnserve_padding_ratio",
            "Share of padding in each call that reads texts.",
            ["model"],
            buckets=tuple(i / 20 for i in range(1, 20)),
            registry=self.registry,
        )
        self._cache_queries = Counter(
            "rnnserve_state_cache_queries",
            "Prompt tokens looked up in the cache of states.",
            ["model"],
            registry=self.registry,
        )
        self._cache_hits = Counter(
            "rnnserve_state_cache_hits",
            "Of these, tokens that need not be read again.",
            ["model"],
            registry=self.registry,
        )
        self._cache_bytes = Gauge(
            "rnnserve_state_cache_bytes", "Bytes that cached states take.", ["model"], registry=self.registry
        )
        self._cache_evictions = Gauge(
            "rnnserve_state_cache_evictions",
            "States evicted to stay within the budget.",
            ["model"],
            registry=self.registry,
        )
        self._sessions = Gauge("rnnserve_sessions", "Sessions kept.", registry=self.registry)
        self._session_bytes = Gauge("rnnserve_session_bytes", "Bytes that sessions take.", registry=self.registry)
        self._session_evictions = Counter(
            "rnnserve_session_evictions",
            "Sessions that went by themselves: expired, or for the budget of number or bytes.",
            ["reason"],
            registry=self.registry,
        )
        self._engine_info = Info(
            "rnnserve_engine", "What runs each model.", ["model", "backend", "precision"], registry=self.registry
        )

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def answered(self, model: str, status: int, seconds: float) -> None:
        """A request of a task was answered. `model` is a loaded model's id, or empty."""
        self._requests.labels(model, str(status)).inc()
        if model:
            self._duration.labels(model).observe(seconds)

    def rejected(self, reason: str) -> None:
        """A request was answered with an error of this code."""
        self._rejections.labels(reason).inc()

    def engine_metrics(self, model: str) -> "EngineMetrics":
        """The counters of one model's engine."""
        return EngineMetrics(
            self._prompt_tokens.labels(model),
            self._generated_tokens.labels(model),
            self._batch_size.labels(model),
            self._step_duration.labels(model),
            self._prefill_duration.labels(model),
            self._queue_duration.labels(model),
            self._first_token.labels(model),
            self._per_token.labels(model),
            self._padding.labels(model),
            self._cache_queries.labels(model),
            self._cache_hits.labels(model),
            {reason: self._cancellations.labels(model, reason) for reason in ("client_gone", "deadline", "error")},
        )

    def watch_sessions(
        self, num_sessions: Callable[[], int], num_bytes: Callable[[], int], reasons: Iterable[str]
    ) -> dict[str, Counter]:
        """Show the sessions; the functions are called when metrics are read.

        Returns:
            For each reason why a session goes by itself, its counter.
        """
        self._sessions.set_function(num_sessions)
        self._session_bytes.set_function(num_bytes)
        return {reason: self._session_evictions.labels(reason) for reason in reasons}

    def watch(
        self,
        model: str,
        *,
        backend: str,
        precision: str,
        requests_running: Callable[[], int],
        gauges: Callable[[], Gauges],
    ) -> None:
        """Show a model's gauges; the functions are called when metrics are read."""
        self._engine_info.labels(model, backend, precision).info({})
        self._requests_running.labels(model).set_function(requests_running)
        self._rows_running.labels(model).set_function(lambda: gauges().num_running)
        self._rows_waiting.labels(model).set_function(lambda: gauges().num_waiting)
        self._cache_bytes.labels(model).set_function(lambda: gauges().cache_bytes)
        self._cache_evictions.labels(model).set_function(lambda: gauges().cache_evictions)


class EngineMetrics:
    """One engine's counters, found once; see server.engine.lane.Observer."""

    def __init__(
        self,
        prompt_tokens: Counter,
        generated_tokens: Counter,
        batch_size: Histogram,
        step_duration: Histogram,
        prefill_duration: Histogram,
        queue_duration: Histogram,
        first_token: Histogram,
        per_token: Histogram,
        padding: Histogram,
        cache_queries: Counter,
        cache_hits: Counter,
        cancellations: dict[str, Counter],
    ) -> None:
        self.prompt_tokens = prompt_tokens
        self._generated_tokens = generated_tokens
        self._batch_size = batch_size
        self._step_duration = step_duration
        self._prefill_duration = prefill_duration
        self._queue_duration = queue_duration
        self._first_token = first_token
        self._per_token = per_token
        self._padding = padding
        self._cache_queries = cache_queries
        self._cache_hits = cache_hits
        self._cancellations = cancellations

    def ended(self, started: float, times: Times, num_tokens: int) -> None:
        """A request was answered.

        Args:
            started: its arrival, by time.perf_counter.
            times: what the engine has noted.
            num_tokens: tokens of its answer, all texts together.
        """
        self._queue_duration.observe(times.began - started)
        if times.first_token:
            self._first_token.observe(times.first_token - started)
            if num_tokens > 1:
                self._per_token.observe((time.perf_counter() - times.first_token) / (num_tokens - 1))

    def cancelled(self, error: BaseException) -> None:
        """A request's work was dropped because of this."""
        reasons = {ClientGoneError: "client_gone", DeadlineError: "deadline", GeneratorExit: "client_gone"}
        self._cancellations[reasons.get(type(error), "error")].inc()

    def prefilled(self, num_tokens: int, num_padded: int, seconds: float) -> None:
        """See Observer."""
        self._prefill_duration.observe(seconds)
        self._padding.observe(1 - num_tokens / num_padded)

    def looked_up(self, num_known: int, num_tokens: int) -> None:
        """See Observer."""
        self._cache_queries.inc(num_tokens)
        self._cache_hits.inc(num_known)

    def decoded(self, num_rows: int, num_steps: int, seconds: float) -> None:
        """See Observer."""
        self._generated_tokens.inc(num_rows * num_steps)
        self._batch_size.observe(num_rows)
        self._step_duration.observe(seconds / num_steps)

    def classified(self, num_rows: int, num_tokens: int, num_padded: int, seconds: float) -> None:
        """See Observer."""
        self._padding.observe(1 - num_tokens / num_padded)
        self._batch_size.observe(num_rows)
        self._step_duration.observe(seconds)
