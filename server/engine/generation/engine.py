"""The engine of a generation model: reads prompts in chunks, and beside that steps all continuations together.

Continuations turn tokens into text in the engine's thread, because a stop string must end a row before the next step;
text of ready-made pieces costs a fraction of a microsecond per token. A continuation without stop strings is given its
tokens when it is due: at its end, or where a stream is told (server.engine.generation.token_log).
"""

import time
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models.decoding.continuation import Continuation
from models.decoding.sampler import Sampler
from runtime.runner import SequenceRunner, StepRunner
from server.engine.engine import Engine, Gauges, Observer
from server.engine.generation.batch import Batch
from server.engine.generation.prefix_cache import PrefixCache
from server.engine.generation.request import Generation, Prompt
from server.engine.generation.scheduler import Prefill, Row, Scheduler, Sequence, Step
from server.engine.generation.token_log import TokenLog
from server.engine.generation.update import Update
from server.engine.times import note_began, note_first_token

TOLD_AT_ONCE = 8  # streams that are told in one step, about; more take turns


class GenerationEngine(Engine[Generation, Prefill[Prompt], Step[Prompt]]):
    """Generates text for many requests at once.

    Args:
        name: the model's, for the thread and the log.
        steps: the live states; capacity at least 2 * max_rows. Used by the engine's thread alone.
        sequences: runs `advance`.
        state_width: D.
        vocab_size: V.
        end_id: the end token's id, or None.
        max_rows: rows stepped together.
        prefill_tokens: prompt tokens read in one call.
        prefill_share: share of the time for reading prompts while rows step.
        stream_tokens: tokens that a stream may gather before it is told, at least 1. So many only where many stream:
            a few are told of every token.
        cache: states of prompts; used by the engine's thread alone.
        observer: who counts.
    """

    def __init__(
        self,
        name: str,
        steps: StepRunner,
        sequences: SequenceRunner,
        *,
        state_width: int,
        vocab_size: int,
        end_id: int | None,
        max_rows: int,
        prefill_tokens: int,
        prefill_share: float,
        stream_tokens: int,
        cache: PrefixCache,
        observer: Observer,
    ) -> None:
        super().__init__(name)
        if steps.capacity < 2 * max_rows:
            raise ValueError(
                f"a step runner of {steps.capacity} slots cannot step {max_rows} rows; needs twice as many"
            )
        self._sequences = sequences
        self._initial_state = np.zeros(state_width, np.float32)
        self._batch = Batch(steps, Sampler(end_id), self._initial_state, vocab_size)
        self._scheduler: Scheduler[Prompt] = Scheduler(
            max_rows=max_rows, prefill_tokens=prefill_tokens, prefill_share=prefill_share
        )
        self._stream_tokens = stream_tokens
        self._told_every = 1  # tokens: how often streams are told
        self._cache = cache
        self._observer = observer
        self._log = TokenLog(max_rows, end_id)
        self._is_stream = [False] * max_rows  # by place, whether its row's text is wanted as it comes

    @property
    def num_running(self) -> int:
        """Rows in the batch."""
        return self._scheduler.num_running

    @property
    def num_waiting(self) -> int:
        """Rows that wait for their prompt to be read or for a place."""
        return self._scheduler.num_waiting

    @property
    def gauges(self) -> Gauges:
        """How it is now."""
        return Gauges(self.num_running, self.num_waiting, self._cache.num_bytes, self._cache.num_evicted)

    def _begin(self, request: Generation) -> None:
        for prompt in request.prompts:
            num_read = prompt.num_read
            if not num_read:
                num_read, prompt.state = self._cache.find(prompt.tokens[:-1])
                request.num_cached += num_read
                self._observer.looked_up(num_read, len(prompt.tokens) - 1)
            sequence = Sequence(prompt, len(prompt.tokens), len(prompt.continuations), request, num_read)
            request.sequences.append(sequence)
            request.num_open += sequence.num_rows
            self._scheduler.add(sequence)

    def _drop(self, request: Generation) -> None:
        for sequence in request.sequences:
            self._scheduler.cancel(sequence)

    def _next_step(self) -> Step[Prompt] | None:
        return self._scheduler.next_step()

    def _stepped(self, seconds: float) -> None:
        self._scheduler.stepped(seconds)

    def _step_failed(self) -> None:
        self._batch.clear()

    def _requests_of(self, call: Prefill[Prompt] | Step[Prompt]) -> Iterable[Generation]:
        if isinstance(call, Step):
            return (row.sequence.owner.generation for row in call.rows)
        return (chunk.sequence.owner.generation for chunk in call.chunks)

    def _next_reading(self) -> Prefill[Prompt] | None:
        call = self._scheduler.next_prefill()
        if call is not None:
            note_began(chunk.sequence.owner.generation.times for chunk in call.chunks)
        return call

    def _read(self, reading: Prefill[Prompt]) -> NDArray[np.float32]:
        """Advance each chunk's state over its tokens, all in one call: the new states, float32 [chunks, D]."""
        lengths = np.array([chunk.stop - chunk.start for chunk in reading.chunks], np.int32)
        ids = np.zeros((len(lengths), lengths.max()), np.int64)
        states = np.empty((len(lengths), len(self._initial_state)), np.float32)
        for i, (chunk, length) in enumerate(zip(reading.chunks, lengths, strict=True)):
            prompt = chunk.sequence.owner
            ids[i, :length] = prompt.tokens[chunk.start : chunk.stop]
            states[i] = self._initial_state if prompt.state is None else prompt.state
        outputs = self._sequences.run("advance", {"ids": ids, "lengths": lengths, "state": states})
        new_states: NDArray[np.float32] = outputs["new_state"]
        return new_states

    def _keep(self, reading: Prefill[Prompt], found: NDArray[np.float32] | None, seconds: float) -> None:
        if found is not None:
            are_finite = np.logical_and.reduce(np.isfinite(found), axis=1).tolist()
            for chunk, state, is_finite in zip(reading.chunks, found, are_finite, strict=True):
                prompt = chunk.sequence.owner
                prompt.state = state.copy()
                if not prompt.num_read and is_finite:
                    self._cache.put(prompt.tokens[: chunk.stop], prompt.state)
            lengths = [chunk.stop - chunk.start for chunk in reading.chunks]
            self._observer.read(sum(lengths), len(lengths) * max(lengths), seconds)
        self._scheduler.read(reading, seconds)

    def _perform(self, step: Step[Prompt]) -> None:
        """Give each row a token, and post what is new."""
        started = time.perf_counter()
        joining = [row.sequence.owner.generation.times for row in step.joining]
        note_began(joining)
        tokens, logprobs = self._batch.step(step)
        self._observer.stepped(len(tokens), time.perf_counter() - started)
        note_first_token(joining)
        if step.changes:
            self._note_changes(step)
        if np.minimum.reduce(tokens) < 0:
            for i in np.flatnonzero(tokens < 0):
                self._fail_not_finite(step.rows[i].sequence.owner.generation)
        for place, found in logprobs.items():
            _continuation(step.rows[place]).place(found)
        for place in self._log.note(tokens):
            if not step.rows[place].sequence.is_cancelled:  # as when its request failed in this step
                self._look(step.rows[place])

    def _note_changes(self, step: Step[Prompt]) -> None:
        """Follow the rows to their places; the more streams, the less often each is told."""
        for place, source in step.changes:
            if source is None:
                self._log.begin(place)
                self._is_stream[place] = step.rows[place].sequence.owner.generation.is_streamed
            else:
                self._log.move(place, source)
                self._is_stream[place] = self._is_stream[source]
        num_streams = self._is_stream[: len(step.rows)].count(True)
        told_every = min(self._stream_tokens, max(1, num_streams // TOLD_AT_ONCE))
        if told_every != self._told_every:
            self._told_every = told_every
            for row, is_stream in zip(step.rows, self._is_stream, strict=False):
                if is_stream:
                    self._expect(row)
        for row in step.joining:
            self._expect(row)

    def _look(self, row: Row[Prompt]) -> None:
        """Give a row's continuation its tokens, and tell what is new if it has ended or is a stream that is due."""
        continuation = _continuation(row)
        has_ended = continuation.extend(self._log.take(row.place))
        if has_ended or (self._is_stream[row.place] and self._is_due(continuation)):
            self._tell(row)
        if not has_ended:
            self._expect(row)

    def _expect(self, row: Row[Prompt]) -> None:
        """Look at a row again when it may end or, as a stream, is due."""
        continuation = _continuation(row)
        num_tokens = continuation.num_until_end
        if row.sequence.owner.generation.options.logprobs is not None:
            num_tokens = 1  # they come one by one
        elif self._is_stream[row.place]:
            num_new = continuation.num_tokens - continuation.num_taken
            num_tokens = min(num_tokens, self._told_every - num_new if continuation.num_tokens else 1)
        self._log.expect(row.place, num_tokens)

    def _is_due(self, stream: Continuation) -> bool:
        """Whether a stream is told now: of its first token at once."""
        return stream.num_tokens == 1 or stream.num_tokens - stream.num_taken >= self._told_every

    def _tell(self, row: Row[Prompt]) -> None:
        """Post what is new of a row, and free its place if it has ended."""
        prompt = row.sequence.owner
        generation = prompt.generation
        continuation = prompt.continuations[row.choice]
        text = continuation.take()
        finish_reason = continuation.finish_reason
        if finish_reason is not None:
            if prompt.keeps_state:
                prompt.last_state = self._batch.state(row.place)
            self._scheduler.finish(row)
            generation.num_open -= 1
            if generation.num_open == 0:
                self._close(generation)
        elif not text:
            return
        index = prompt.first_index + row.choice
        logprobs = continuation.take_placed()
        update = Update(index, text, finish_reason, continuation.stop_reason, continuation.num_tokens, logprobs)
        self._delivery.post(generation, update)


def _continuation(row: Row[Prompt]) -> Continuation:
    return row.sequence.owner.continuations[row.choice]
