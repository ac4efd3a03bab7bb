"""What the server counts, in a registry of its own. Names begin with rnnserve_; units are base units.

Labels are few and bounded: `model` is always the id of a loaded model or empty, never what a client wrote.
"""

import platform
import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from server.engine.request import Times
from server.errors import ClientGoneError, DeadlineError

if TYPE_CHECKING:
    from server.endpoint import Endpoint

DURATION_BUCKETS = tuple(round(1e-5 * 1.5**i, 9) for i in range(46))  # 10 us, each 1.5 times the one before, to 840 s
SIZE_BUCKETS = tuple(2**i for i in range(13))  # 1, 2, 4 ... 4096
SHARE_BUCKETS = tuple(i / 20 for i in range(1, 20))
_REASONS = {ClientGoneError: "client_gone", DeadlineError: "deadline", GeneratorExit: "client_gone"}


class Totals(NamedTuple):
    """What a model has done: counts, each with seconds where they have some.

    Attributes:
        requests: answered, by HTTP status.
        queue: of answered requests, until the first call that works on them.
        calls: of the runtime.
        inferences: prompts, texts, sentences and rows that were answered.
        last_answer: when a request was last answered, seconds since 1970; 0: never.
    """

    requests: dict[str, tuple[float, float]]
    queue: tuple[float, float]
    calls: tuple[float, float]
    inferences: float
    last_answer: float


class Metrics(Collector):
    """All metrics of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # of Linux: CPU, memory, descriptors
        self.endpoints: list[Endpoint] = []  # whose state is shown
        self.dead_models: Callable[[], list[str]] = list  # the ids of those that cannot go on
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry, labelnames=["model"])
        duration = partial(histogram, buckets=DURATION_BUCKETS)
        self.requests = counter("rnnserve_requests", "Requests answered, by HTTP status.", ["model", "status"])
        self.rejections = counter(
            "rnnserve_requests_rejected", "Requests answered with an error, by its code.", ["reason"]
        )
        self.duration = duration(
            "rnnserve_request_duration_seconds", "From the request's head to the last byte of its answer."
        )
        self.request_seconds = counter(
            "rnnserve_request_seconds", "Time of the requests answered, by HTTP status.", ["model", "status"]
        )
        self.inferences = counter(
            "rnnserve_inferences", "Prompts, texts, sentences and rows of the requests answered.", ["model"]
        )
        self.last_answer = Gauge(
            "rnnserve_last_answer_timestamp_seconds",
            "When a request was last answered, since 1970.",
            ["model"],
            registry=self.registry,
        )
        self.calls = counter(
            "rnnserve_runtime_calls", "Calls that read texts, and windows of decoding steps.", ["model"]
        )
        self.call_seconds = counter(
            "rnnserve_runtime_call_seconds", "Their time, choosing the tokens included.", ["model"]
        )
        self.prompt_tokens = counter(
            "rnnserve_prompt_tokens", "Tokens of the prompts and texts of requests taken on.", ["model"]
        )
        self.generated_tokens = counter("rnnserve_generated_tokens", "Tokens of the answers given.", ["model"])
        self.prefilled_tokens = counter(
            "rnnserve_prefilled_tokens", "Tokens read by prefill calls, or encoded.", ["model"]
        )
        self.row_steps = counter(
            "rnnserve_row_steps",
            "Decoding steps, times their rows: tokens generated, prompt tokens read in windows, steps after an end.",
            ["model"],
        )
        self.batch_size = histogram(
            "rnnserve_batch_size",
            "Rows of each decoding step; for sentiment, texts of each call.",
            buckets=SIZE_BUCKETS,
        )
        self.step_duration = duration(
            "rnnserve_step_duration_seconds",
            "Time of each decoding step, choosing the tokens included; for sentiment, of each call.",
        )
        self.prefill_duration = duration(
            "rnnserve_prefill_duration_seconds", "Time of each call that reads prompts or encodes sources."
        )
        self.queue_duration = duration(
            "rnnserve_queue_duration_seconds", "From the request's head to the first call that works on it."
        )
        self.first_token = duration(
            "rnnserve_time_to_first_token_seconds", "From the request's head to its first token."
        )
        self.per_token = duration(
            "rnnserve_time_per_token_seconds",
            "Between the tokens of an answer after its first, the mean; several texts count as one.",
        )
        self.cancellations = counter(
            "rnnserve_requests_cancelled",
            "Requests whose work was dropped before its end: client_gone, deadline, or error.",
            ["model", "reason"],
        )
        self.padding = histogram(
            "rnnserve_padding_ratio", "Share of padding in each call that reads texts.", buckets=SHARE_BUCKETS
        )
        self.cache_queries = counter(
            "rnnserve_state_cache_queries", "Prompt tokens looked up in the cache of states.", ["model"]
        )
        self.cache_hits = counter(
            "rnnserve_state_cache_hits", "Of these, tokens that need not be read again.", ["model"]
        )
        self.ready = Gauge("rnnserve_ready", "1 while requests are taken.", registry=self.registry)
        self.connections = Gauge("rnnserve_connections", "Connections that are open.", registry=self.registry)
        self.connections_closed = counter(
            "rnnserve_connections_closed", "Connections that the server closed over a limit, by the limit.", ["reason"]
        )
        self.sessions = Gauge("rnnserve_sessions", "Sessions kept.", registry=self.registry)
        self.session_bytes = Gauge("rnnserve_session_bytes", "Bytes that sessions take.", registry=self.registry)
        self.session_evictions = counter(
            "rnnserve_session_evictions",
            "Sessions that went by themselves: expired, or for the budget of number or bytes.",
            ["reason"],
        )
        self.sequences = Gauge("rnnserve_sequences", "Sequences of /v2 kept.", registry=self.registry)
        self.sequence_bytes = Gauge("rnnserve_sequence_bytes", "Bytes that sequences take.", registry=self.registry)
        self.sequence_evictions = counter(
            "rnnserve_sequence_evictions",
            "Sequences that went without their end: expired, or for the budget of number or bytes.",
            ["reason"],
        )
        self.registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """What `collect` gives, so that it is found by name."""
        return self.collect()

    def totals(self, model: str) -> "Totals":
        """What a model has done since the server started."""
        requests, seconds = self._samples(self.requests, model), self._samples(self.request_seconds, model)
        queue = self._samples(self.queue_duration, model)
        name = "rnnserve_queue_duration_seconds"
        return Totals(
            requests={
                status: (value, seconds.get(("rnnserve_request_seconds_total", status), 0.0))
                for (sample, status), value in requests.items()
                if sample == "rnnserve_requests_total"
            },
            queue=(queue.get((f"{name}_count", ""), 0.0), queue.get((f"{name}_sum", ""), 0.0)),
            calls=(self._value(self.calls, model), self._value(self.call_seconds, model)),
            inferences=self._value(self.inferences, model),
            last_answer=self._value(self.last_answer, model),
        )

    def _samples(self, metric: MetricWrapperBase, model: str) -> dict[tuple[str, str], float]:
        """Samples of a model by name and status."""
        return {
            (sample.name, sample.labels.get("status", "")): sample.value
            for family in metric.collect()
            for sample in family.samples
            if sample.labels.get("model") == model and "le" not in sample.labels
        }

    def _value(self, metric: Counter | Gauge, model: str) -> float:
        return next((value for (name, _), value in self._samples(metric, model).items() if "_created" not in name), 0.0)

    def collect(self) -> Iterable[Metric]:
        """The state of the endpoints, when metrics are read."""
        gauge = partial(GaugeMetricFamily, labels=["model"])
        requests = gauge("rnnserve_requests_running", "Requests that hold a permit.")
        limits = gauge("rnnserve_requests_limit", "Permits.")
        tokens = gauge("rnnserve_pending_tokens", "Tokens that the requests inside may need.")
        up = gauge("rnnserve_engine_up", "1 while the engine can go on.")
        busy = gauge("rnnserve_engine_busy_seconds", "How long the call that has taken longest has been running.")
        running = gauge("rnnserve_rows_running", "Rows that run together now; a beam takes its whole width.")
        waiting = gauge("rnnserve_rows_waiting", "Rows waiting to be read or for a place.")
        size = gauge("rnnserve_state_cache_bytes", "Bytes that cached states take.")
        evictions = CounterMetricFamily(
            "rnnserve_state_cache_evictions", "States evicted to stay within the budget.", labels=["model"]
        )
        info = InfoMetricFamily("rnnserve_engine", "What runs each model.", labels=["model", "backend", "precision"])
        dead = self.dead_models()
        for endpoint in self.endpoints:
            labels, state, since = [endpoint.id], endpoint.engine.gauges, endpoint.engine.busy_since
            requests.add_metric(labels, endpoint.limiter.permits.num_taken)
            limits.add_metric(labels, endpoint.limiter.permits.limit)
            tokens.add_metric(labels, endpoint.limiter.tokens.num_taken)
            up.add_metric(labels, endpoint.id not in dead)
            busy.add_metric(labels, time.monotonic() - since if since else 0)
            running.add_metric(labels, state.num_running)
            waiting.add_metric(labels, state.num_waiting)
            size.add_metric(labels, state.cache_bytes)
            evictions.add_metric(labels, state.cache_evictions)
            info.add_metric([endpoint.id, endpoint.model.backend, endpoint.model.precision], {})
        build = InfoMetricFamily("rnnserve_build", "What is running.", labels=["version", "python", "onnxruntime"])
        build.add_metric([_version("rnnserve"), platform.python_version(), _version("onnxruntime")], {})
        return requests, limits, tokens, up, busy, running, waiting, size, evictions, info, build


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


class EngineMetrics:
    """One model's metrics, found once; see server.engine.lane.Observer."""

    def __init__(self, metrics: Metrics, model: str) -> None:
        self.prompt_tokens = metrics.prompt_tokens.labels(model)
        self._inferences = metrics.inferences.labels(model)
        self._last_answer = metrics.last_answer.labels(model)
        self._calls = metrics.calls.labels(model)
        self._call_seconds = metrics.call_seconds.labels(model)
        self._generated_tokens = metrics.generated_tokens.labels(model)
        self._prefilled_tokens = metrics.prefilled_tokens.labels(model)
        self._row_steps = metrics.row_steps.labels(model)
        self._batch_size = metrics.batch_size.labels(model)
        self._step_duration = metrics.step_duration.labels(model)
        self._prefill_duration = metrics.prefill_duration.labels(model)
        self._queue_duration = metrics.queue_duration.labels(model)
        self._first_token = metrics.first_token.labels(model)
        self._per_token = metrics.per_token.labels(model)
        self._padding = metrics.padding.labels(model)
        self._cache_queries = metrics.cache_queries.labels(model)
        self._cache_hits = metrics.cache_hits.labels(model)
        self._cancellations = {
            reason: metrics.cancellations.labels(model, reason) for reason in ("client_gone", "deadline", "error")
        }

    def ended(self, started: float, times: Times, num_tokens: int, num_items: int) -> None:
        """A request that arrived at `started` (time.perf_counter) was answered: so many items, with so many tokens."""
        self._inferences.inc(num_items)
        self._last_answer.set_to_current_time()
        self._queue_duration.observe(times.began - started)
        self._generated_tokens.inc(num_tokens)
        if times.first_token:
            self._first_token.observe(times.first_token - started)
            if num_tokens > 1:
                self._per_token.observe((time.perf_counter() - times.first_token) / (num_tokens - 1))

    def cancelled(self, error: BaseException) -> None:
        """A request's work was dropped because of this."""
        self._cancellations[_REASONS.get(type(error), "error")].inc()

    def _called(self, seconds: float) -> None:
        self._calls.inc()
        self._call_seconds.inc(seconds)

    def prefilled(self, num_tokens: int, num_padded: int, seconds: float) -> None:
        """See Observer."""
        self._called(seconds)
        self._prefill_duration.observe(seconds)
        self._prefilled_tokens.inc(num_tokens)
        self._padding.observe(1 - num_tokens / num_padded)

    def looked_up(self, num_known: int, num_tokens: int) -> None:
        """See Observer."""
        self._cache_queries.inc(num_tokens)
        self._cache_hits.inc(num_known)

    def decoded(self, num_rows: int, num_steps: int, seconds: float) -> None:
        """See Observer."""
        self._called(seconds)
        self._row_steps.inc(num_rows * num_steps)
        self._batch_size.observe(num_rows)
        self._step_duration.observe(seconds / num_steps)

    def classified(self, num_rows: int, num_tokens: int, num_padded: int, seconds: float) -> None:
        """See Observer."""
        self._called(seconds)
        self._padding.observe(1 - num_tokens / num_padded)
        self._batch_size.observe(num_rows)
        self._step_duration.observe(seconds)
