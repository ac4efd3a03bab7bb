"""A lane of a translation model: encodes sources together, and decodes all requests' rows together."""

from collections.abc import Callable
from typing import Any

from models.decoding.beam_search import BeamSearch, GreedySearch
from runtime.padding import padded
from runtime.runner import AttentionStepRunner, DecodeRunner, SequenceRunner
from server.engine.lane import NOT_FINITE_MESSAGE, Lane, Observer
from server.engine.length_buckets import length_bucket
from server.engine.scheduler import Chunk, Item, Row, Scheduler, WindowLength
from server.engine.translation.batch import (
    BeamBatch,
    GreedyBatch,
    StepBatch,
    TranslationBatch,
    runs_in_decode,
    runs_in_decode_beam,
)
from server.engine.translation.request import Encoded, Source, TranslationOutput


class TranslationScheduler(Scheduler[Item]):
    """A prefill call encodes whole sources of similar lengths; a row joins once its source is encoded. Pure.

    Args:
        num_slots: of the lane; no beam is wider.
        encode_tokens: padded tokens of one encode call; a longer source is encoded alone.
        encode_share: share of the time for encode calls while rows are decoded.
    """

    def __init__(self, *, num_slots: int, encode_tokens: int, encode_share: float) -> None:
        super().__init__(num_slots=num_slots, prefill_share=encode_share)
        self._encode_tokens = encode_tokens

    def _prefers_prefill(self, item: Item) -> bool:  # noqa: ARG002
        return True

    def _next_chunks(self) -> list[Chunk[Item]]:
        candidates: list[Item] = []
        rounds = [iter(group.prefilling) for group in self._prefilling]
        while rounds:  # the first of each request, then the second of each, and so on
            found = [(items, item) for items in rounds if (item := next(items, None)) is not None]
            candidates += [item for _, item in found]
            rounds = [items for items, _ in found]
        chosen = length_bucket(candidates, lambda item: item.num_prefill, self._encode_tokens, len(candidates))
        for item in chosen:
            group = self._groups[item.request]
            self._prefilling.remove(group)
            group.prefilling.remove(item)
            if group.prefilling:
                self._prefilling.append(group)
        return [Chunk(item, 0, item.num_prefill) for item in chosen]


class TranslationLane(Lane[Source, TranslationBatch[Any]]):
    """Translates for many requests at once.

    Args:
        name: the thread's, and the log's.
        scheduler: of this lane alone.
        window: of this lane alone.
        steps: runs `step`; its capacity is at least twice the lane's rows.
        sequences: runs `encode`.
        decoder: runs `decode`; None where the set has none.
        beam_decoder: by beam size, runs `decode_beam` for as many searches as the lane's slots hold; None where the
            set has none.
        observer: counts.
    """

    def __init__(
        self,
        name: str,
        scheduler: TranslationScheduler[Source],
        window: WindowLength,
        *,
        steps: AttentionStepRunner,
        sequences: SequenceRunner,
        decoder: DecodeRunner | None,
        beam_decoder: Callable[[int], DecodeRunner | None],
        observer: Observer,
    ) -> None:
        self._sequence_runner = sequences
        self._step_batch = StepBatch(steps)
        self._greedy_batch: GreedyBatch | None = None
        self._beam_decoder = beam_decoder
        self._beam_batches: dict[int, TranslationBatch[Any]] = {}  # by beam size, made when first needed
        batches: list[TranslationBatch[Any]] = [self._step_batch]
        if decoder is not None:
            self._greedy_batch = GreedyBatch(decoder)
            batches.insert(0, self._greedy_batch)
        super().__init__(name, scheduler, batches, window, observer)

    def _batch_of(self, item: Source) -> TranslationBatch[Any]:
        if self._greedy_batch is not None and runs_in_decode(item.request.options):
            return self._greedy_batch
        if runs_in_decode_beam(item.request.options):
            return self._beam_batch(item.request.options.beam_size)
        return self._step_batch

    def _beam_batch(self, beam_size: int) -> TranslationBatch[Any]:
        """The batch of the searches of a beam size; their runner has one number of rows for each."""
        if beam_size not in self._beam_batches:
            runner = self._beam_decoder(beam_size)
            batch = self._step_batch if runner is None else BeamBatch(runner, beam_size)
            if batch is not self._step_batch:
                self._batches.append(batch)
            self._beam_batches[beam_size] = batch
        return self._beam_batches[beam_size]

    def _prefill(self, chunks: list[Chunk[Source]]) -> int:
        """Encode the sources, all in one call."""
        ids, lengths = padded([chunk.item.tokens for chunk in chunks])
        outputs = self._sequence_runner.run("encode", {"ids": ids, "lengths": lengths})
        for row, chunk in enumerate(chunks):
            # Copies, so that a long batch-mate's array does not stay in memory for a short text.
            memory = {name: outputs[name][row, : chunk.stop].copy() for name in ("memory", "keys")}
            chunk.item.encoded = Encoded(memory, outputs["state"][row].copy())
        return ids.size

    def _run_batch(self, batch: TranslationBatch[Any], num_steps: int) -> int:
        window = batch.run(num_steps)
        for row in window.broken:
            self._fail(row.item, NOT_FINITE_MESSAGE)
        for row in batch.rows.copy():
            self._handle(row, batch.searches[row])
        return window.num_steps

    def _handle(self, row: Row[Source], search: GreedySearch | BeamSearch) -> None:
        """A window has ended: send what a stream has that is new, or the results."""
        source, request = row.item, row.item.request
        request.times.note_first_token()
        ids, attention = search.take() if request.is_streamed else ([], None)
        if search.is_over:
            self._finish(row)
        elif not ids:
            return
        results = search.results() if search.is_over else None
        self._sender.post(request.outputs, TranslationOutput(source.number, ids, attention, results))
