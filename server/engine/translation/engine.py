"""The engine of a translation model: encodes sources together, and beside that steps all requests' hypotheses."""

import time
from collections.abc import Iterable

from runtime.padding import padded, padded_length
from runtime.runner import AttentionStepRunner, SequenceRunner
from server.engine.engine import Engine, Observer
from server.engine.times import note_began, note_first_token
from server.engine.translation.batch import Batch, Rows
from server.engine.translation.request import Encoded, Progress, Source, Translation
from server.engine.translation.scheduler import Encode, Scheduler, Step, Text


class TranslationEngine(Engine[Translation, Encode[Source], Step[Source]]):
    """Translates for many requests at once.

    Args:
        name: the model's, for the thread and the log.
        steps: the live states; capacity at least 2 * max_rows. Used by the engine's thread alone.
        sequences: runs `encode`.
        max_rows: rows stepped together; no beam is wider.
        encode_tokens: padded source tokens encoded in one call.
        encode_share: share of the time for encoding while searches step.
        observer: who counts.
    """

    def __init__(
        self,
        name: str,
        steps: AttentionStepRunner,
        sequences: SequenceRunner,
        *,
        max_rows: int,
        encode_tokens: int,
        encode_share: float,
        observer: Observer,
    ) -> None:
        super().__init__(name)
        if steps.capacity < 2 * max_rows:
            raise ValueError(
                f"a step runner of {steps.capacity} slots cannot step {max_rows} rows; needs twice as many"
            )
        self._sequences = sequences
        self._batch = Batch(steps)
        self._scheduler: Scheduler[Source] = Scheduler(
            max_rows=max_rows, encode_tokens=encode_tokens, encode_share=encode_share
        )
        self._observer = observer

    @property
    def num_running(self) -> int:
        """Places of the batch that are taken."""
        return self._scheduler.num_running

    @property
    def num_waiting(self) -> int:
        """Places that texts which do not run yet will take."""
        return self._scheduler.num_waiting

    def _begin(self, request: Translation) -> None:
        request.num_open = len(request.sources)
        for source in request.sources:
            text = Text(source, len(source.tokens), request.options.beam_size, request)
            request.texts.append(text)
            self._scheduler.add(text)

    def _drop(self, request: Translation) -> None:
        for text in request.texts:
            self._scheduler.cancel(text)

    def _next_step(self) -> Step[Source] | None:
        return self._scheduler.next_step()

    def _stepped(self, seconds: float) -> None:
        self._scheduler.stepped(seconds)

    def _step_failed(self) -> None:
        self._batch.clear()

    def _requests_of(self, call: Encode[Source] | Step[Source]) -> Iterable[Translation]:
        return (text.owner.translation for text in call.texts)

    def _next_reading(self) -> Encode[Source] | None:
        call = self._scheduler.next_encode()
        if call is not None:
            note_began(text.owner.translation.times for text in call.texts)
        return call

    def _read(self, reading: Encode[Source]) -> list[Encoded]:
        """Encode the sources, all in one call."""
        ids, lengths = padded([text.owner.tokens for text in reading.texts])
        outputs = self._sequences.run("encode", {"ids": ids, "lengths": lengths})
        found = []
        for row, text in enumerate(reading.texts):
            # Copies, so that a long neighbour's array does not stay in memory for a short text.
            memory = {name: outputs[name][row, : text.num_tokens].copy() for name in ("memory", "keys")}
            found.append(Encoded(memory, outputs["state"][row].copy()))
        return found

    def _keep(self, reading: Encode[Source], found: list[Encoded] | None, seconds: float) -> None:
        if found is not None:
            for text, encoded in zip(reading.texts, found, strict=True):
                text.owner.encoded = encoded
            lengths = [text.num_tokens for text in reading.texts]
            self._observer.read(sum(lengths), len(lengths) * padded_length(max(lengths)), seconds)
        self._scheduler.encoded(reading, seconds)

    def _perform(self, step: Step[Source]) -> None:
        """Feed every search, let each choose, and post what is new."""
        started = time.perf_counter()
        found = self._batch.step([text.owner for text in step.texts])
        if step.num_joining:
            note_first_token(text.owner.translation.times for text in step.texts)
        num_rows = 0
        for text, rows in zip(step.texts, found, strict=True):
            num_rows += len(rows.attention)
            if text.is_over:  # its request failed in this step, by another of its texts
                continue
            if not rows.is_finite:
                self._fail_not_finite(text.owner.translation)
                continue
            self._batch.moved(text.owner, text.owner.search.extend(rows.candidates, rows.attention))
            if text.owner.search.is_over:
                self._finish(text)
            elif text.owner.translation.is_streamed:
                self._tell(text.owner, rows)
        self._observer.stepped(num_rows, time.perf_counter() - started)

    def _tell(self, source: Source, rows: Rows) -> None:
        """Post the token that a greedy search has just chosen."""
        ids = tuple(source.search.tokens.tolist())
        attention = (rows.attention[0, : len(source.tokens)].copy(),) if source.translation.keeps_attention else ()
        self._delivery.post(source.translation, Progress(source.number, ids, attention, None))

    def _finish(self, text: Text[Source]) -> None:
        """Post what a search has found, and free its places."""
        source = text.owner
        translation = source.translation
        self._scheduler.finish(text)
        translation.num_open -= 1
        if translation.num_open == 0:
            self._close(translation)
        results = source.search.results()
        is_untold = translation.is_streamed and results[0].finish_reason == "length"  # its last token
        ids = (results[0].ids[-1],) if is_untold else ()
        attention = (results[0].attention[-1],) if is_untold and translation.keeps_attention else ()
        self._delivery.post(translation, Progress(source.number, ids, attention, results))
