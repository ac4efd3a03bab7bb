"""The engine of a sentiment model: classifies whatever waits, texts of like length in one call."""

import time
from collections.abc import Iterable
from typing import Never

import numpy as np
from numpy.typing import NDArray

from export.backends.padding import padded
from export.backends.runner import SequenceRunner
from server.engine.engine import Engine, Observer
from server.engine.sentiment.request import Classification, Verdict
from server.engine.sentiment.scheduler import Classify, Scheduler, Text
from server.engine.times import note_began

Owner = tuple[Classification, int]


class SentimentEngine(Engine[Classification, Never, Classify[Owner]]):
    """Classifies texts of many requests at once.

    Args:
        name: the model's, for the thread and the log.
        sequences: runs `classify`.
        max_rows: texts of one call.
        classify_tokens: padded tokens of one call.
        observer: who counts.
    """

    def __init__(
        self, name: str, sequences: SequenceRunner, *, max_rows: int, classify_tokens: int, observer: Observer
    ) -> None:
        super().__init__(name)
        self._sequences = sequences
        self._scheduler: Scheduler[Owner] = Scheduler(max_rows=max_rows, classify_tokens=classify_tokens)
        self._observer = observer
        self._num_running = 0

    @property
    def num_running(self) -> int:
        """Texts in the call that runs."""
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

    def _next_step(self) -> Classify[Owner] | None:
        call = self._scheduler.schedule()
        self._num_running = len(call.texts) if call is not None else 0
        return call

    def _stepped(self, seconds: float) -> None:
        del seconds  # nothing is read beside: there is nothing to share out
        self._num_running = 0

    def _requests_of(self, call: Classify[Owner]) -> Iterable[Classification]:
        return (text.owner[0] for text in call.texts)

    def _step_failed(self) -> None:
        """Nothing is kept between calls."""

    def _perform(self, step: Classify[Owner]) -> None:
        started = time.perf_counter()
        note_began(text.owner[0].times for text in step.texts)
        ids, lengths = padded([text.owner[0].texts[text.owner[1]] for text in step.texts])
        logits = self._sequences.run("classify", {"ids": ids, "lengths": lengths})["logits"]
        rows = _softmax(logits)
        self._observer.classified(len(rows), int(lengths.sum()), ids.size, time.perf_counter() - started)
        for text, row in zip(step.texts, rows, strict=True):
            request, index = text.owner
            if request not in self._open:  # it failed by another of its texts
                continue
            if not np.isfinite(row).all():
                self._fail_not_finite(request)
                continue
            self._delivery.post(request.mailbox, Verdict(index, row.tolist()))
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
