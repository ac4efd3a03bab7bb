"""The engine of a sentiment model: classifies whatever waits, texts of like length in one call.

A call of long texts takes tens of milliseconds. Such calls are made beside the engine's thread, as many at once as
there are runners, so that they use more than one core. Calls of short texts are over sooner than they could be handed
to another thread and back; the engine's own makes them, one after another.
"""

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime.padding import padded, padded_length
from runtime.runner import SequenceRunner
from server.engine.engine import Engine, Observer
from server.engine.sentiment.request import Classification, Verdict
from server.engine.sentiment.scheduler import Classify, Scheduler, Text
from server.engine.times import note_began

Owner = tuple[Classification, int]

LONG = 2048  # padded tokens; a call of so many takes some ten milliseconds


class Call(NamedTuple):
    """A call that has begun.

    Attributes:
        texts: what it classifies.
        runner: what makes it; no other call's as long as this one runs.
    """

    texts: list[Text[Owner]]
    runner: SequenceRunner


class Found(NamedTuple):
    """What a call has found.

    Attributes:
        probabilities: float64 [n, C], each row sums to 1; NaN where a row is not finite.
        num_tokens: tokens of the texts.
        num_padded: those, and the padding between them.
    """

    probabilities: NDArray[np.float64]
    num_tokens: int
    num_padded: int


class SentimentEngine(Engine[Classification, Call, Call]):
    """Classifies texts of many requests at once.

    Args:
        name: the model's, for the threads and the log.
        runners: each runs `classify`, for one call at a time.
        max_rows: texts of one call.
        classify_tokens: padded tokens of one call.
        long: padded tokens from which a call is made beside the engine's thread.
        observer: who counts.
    """

    def __init__(
        self,
        name: str,
        runners: Sequence[SequenceRunner],
        *,
        max_rows: int,
        classify_tokens: int,
        observer: Observer,
        long: int = LONG,
    ) -> None:
        super().__init__(name, num_readers=len(runners))
        self._free_runners = list(runners)
        self._scheduler: Scheduler[Owner] = Scheduler(max_rows=max_rows, classify_tokens=classify_tokens)
        self._long = long
        self._observer = observer
        self._next: Classify[Owner] | None = None  # has been scheduled, and is of the other kind than was asked for
        self._num_running = 0

    @property
    def num_running(self) -> int:
        """Texts in the calls that run."""
        return self._num_running

    @property
    def num_waiting(self) -> int:
        """Texts that wait for a call."""
        return self._scheduler.num_waiting

    def _begin(self, request: Classification) -> None:
        request.num_open = len(request.texts)
        for index, tokens in enumerate(request.texts):
            text = Text((request, index), len(tokens), request)
            request.waiting.append(text)
            self._scheduler.add(text)

    def _drop(self, request: Classification) -> None:
        for text in request.waiting:
            self._scheduler.cancel(text)

    def _next_call(self, *, is_long: bool) -> Call | None:
        """The next call, if it is of this kind and a runner is free; one of the other kind is begun as such next."""
        if not self._free_runners:
            return None
        if self._next is None:
            self._next = self._scheduler.schedule()
        if self._next is None or self._is_long(self._next) != is_long:
            return None
        call, self._next = Call(self._next.texts, self._free_runners.pop()), None
        self._num_running += len(call.texts)
        note_began(text.owner[0].times for text in call.texts)
        return call

    def _is_long(self, call: Classify[Owner]) -> bool:
        return len(call.texts) * padded_length(max(text.num_tokens for text in call.texts)) >= self._long

    def _ended(self, call: Call) -> None:
        self._free_runners.append(call.runner)
        self._num_running -= len(call.texts)

    def _next_reading(self) -> Call | None:
        return self._next_call(is_long=True)

    def _next_step(self) -> Call | None:
        return self._next_call(is_long=False)

    def _stepped(self, seconds: float) -> None:
        """The calls are all alike: there is nothing to share out."""

    def _requests_of(self, call: Call) -> Iterable[Classification]:
        return (text.owner[0] for text in call.texts)

    def _step_failed(self) -> None:
        """Nothing is kept between calls."""

    def _read(self, reading: Call) -> Found:
        """Classify the texts of a call."""
        ids, lengths = padded([text.owner[0].texts[text.owner[1]] for text in reading.texts])
        logits = reading.runner.run("classify", {"ids": ids, "lengths": lengths})["logits"]
        return Found(_softmax(logits), int(lengths.sum()), ids.size)

    def _keep(self, reading: Call, found: Found | None, seconds: float) -> None:
        self._ended(reading)
        if found is not None:
            self._tell(reading, found, seconds)

    def _perform(self, step: Call) -> None:
        started = time.perf_counter()
        try:
            found = self._read(step)
        finally:
            self._ended(step)
        self._tell(step, found, time.perf_counter() - started)

    def _tell(self, call: Call, found: Found, seconds: float) -> None:
        """Post the verdicts of a call that took so long."""
        self._observer.classified(len(call.texts), found.num_tokens, found.num_padded, seconds)
        for text, row in zip(call.texts, found.probabilities, strict=True):
            request, index = text.owner
            if request not in self._open:  # it failed by another of its texts, or has been cancelled
                continue
            if not np.isfinite(row).all():
                self._fail_not_finite(request)
                continue
            self._delivery.post(request, Verdict(index, row.tolist()))
            request.num_open -= 1
            if request.num_open == 0:
                self._close(request)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities float64 [B, C] of logits [B, C], each row by itself; NaN where a row is not finite."""
    with np.errstate(all="ignore"):
        z = np.ascontiguousarray(logits, np.float64)
        weights: NDArray[np.float64] = np.exp(z - np.maximum.reduce(z, axis=1)[:, None])
        weights /= np.add.reduce(weights, axis=1)[:, None]
    return weights
