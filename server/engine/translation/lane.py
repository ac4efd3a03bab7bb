"""A lane of a translation model: encodes sources together, and decodes all requests' rows together."""

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.padding import padded
from runtime.runner import AttentionStepRunner, DecodeRunner, SequenceRunner
from server.engine.decoding_lane import DecodingLane
from server.engine.lane import Observer
from server.engine.scheduler import Chunk, Row
from server.engine.scheduler import Sequence as ScheduledSequence
from server.engine.translation.batch import BeamBatch, GreedyBatch, runs_in_decode
from server.engine.translation.request import Encoded, Source, TranslationOutput
from server.engine.translation.scheduler import TranslationScheduler
from server.engine.window import WindowLength


@dataclass(frozen=True, kw_only=True)
class TranslationRunners:
    """What runs a model's graphs for one lane.

    Attributes:
        steps: runs `step`; its capacity is at least twice the lane's rows.
        sequences: runs `encode`.
        decoder: runs `decode`; None where the set has none.
    """

    steps: AttentionStepRunner
    sequences: SequenceRunner
    decoder: DecodeRunner | None


class TranslationLane(DecodingLane[Source]):
    """Translates for many requests at once.

    Args:
        name: the thread's, and the log's.
        runners: used by this lane alone, unless they say otherwise.
        scheduler: of this lane alone.
        window: of this lane alone.
        observer: counts.
    """

    def __init__(
        self,
        name: str,
        runners: TranslationRunners,
        scheduler: TranslationScheduler[Source],
        window: WindowLength,
        *,
        observer: Observer,
    ) -> None:
        super().__init__(name, scheduler, window, observer)
        self._sequence_runner = runners.sequences
        self._beam_batch = BeamBatch(runners.steps, self._handle_beam, self._fail_row)
        self._greedy_batch: GreedyBatch | None = None
        if runners.decoder is not None:
            self._greedy_batch = GreedyBatch(runners.decoder, self._handle_greedy, self._fail_row)
        self._batches: Sequence[GreedyBatch | BeamBatch] = [
            batch for batch in (self._greedy_batch, self._beam_batch) if batch is not None
        ]

    def _batch_of(self, item: Source) -> GreedyBatch | BeamBatch:
        if self._greedy_batch is not None and runs_in_decode(item.options):
            return self._greedy_batch
        return self._beam_batch

    def _begin(self, item: Source) -> None:
        self._schedule(ScheduledSequence(item, len(item.tokens), item.outputs, width=item.options.beam_size))

    def _prefill(self, chunks: list[Chunk[Source]]) -> int:
        """Encode the sources, all in one call."""
        ids, lengths = padded([chunk.sequence.owner.tokens for chunk in chunks])
        outputs = self._sequence_runner.run("encode", {"ids": ids, "lengths": lengths})
        for row, chunk in enumerate(chunks):
            # Copies, so that a long batch-mate's array does not stay in memory for a short text.
            memory = {name: outputs[name][row, : chunk.stop].copy() for name in ("memory", "keys")}
            chunk.sequence.owner.encoded = Encoded(memory, outputs["state"][row].copy())
        return ids.size

    def _fail_row(self, row: Row[Source]) -> None:
        self._fail_not_finite(row.sequence.owner)

    def _handle_greedy(self, row: Row[Source]) -> None:
        """A window has ended: send what a stream has that is new, or the result."""
        assert self._greedy_batch is not None
        source, search = row.sequence.owner, self._greedy_batch.searches[row]
        ids, attention = search.take() if source.is_streamed else ([], None)
        if search.is_over:
            self._finish(row)
        elif not ids:
            return
        results = [search.result()] if search.is_over else None
        self._sender.post(source.outputs, TranslationOutput(source.number, ids, attention, results))

    def _handle_beam(self, row: Row[Source]) -> None:
        """A step has ended: send what a stream has that is new, or the results."""
        source, search = row.sequence.owner, self._beam_batch.searches[row]
        if not search.is_over:
            if source.is_streamed:
                ids, attention = search.tokens.tolist(), search.last_attention()
                self._sender.post(source.outputs, TranslationOutput(source.number, ids, attention, None))
            return
        results = search.results()
        has_unsent = source.is_streamed and results[0].finish_reason == "length"  # its last token
        ids = results[0].ids[-1:] if has_unsent else []
        attention = results[0].attention[-1:] if has_unsent and source.keeps_attention else None
        self._finish(row)
        self._sender.post(source.outputs, TranslationOutput(source.number, ids, attention, results))
