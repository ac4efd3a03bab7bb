"""The engine of a generation model: reads prompts in chunks, steps all continuations together.

Continuations turn tokens into text in the engine's thread, because a stop string must end a row before the next step;
text of ready-made pieces costs a fraction of a microsecond per token.
"""

import time
from collections.abc import Callable, Iterable

import numpy as np

from export.backends.runner import SequenceRunner, StepRunner
from models.decoding.sampler import Sampler
from server.engine.engine import Engine, Observer
from server.engine.generation.batch import Batch
from server.engine.generation.prefix_cache import PrefixCache
from server.engine.generation.request import Generation, Prompt
from server.engine.generation.scheduler import Prefill, Row, Scheduler, Sequence, Step
from server.engine.generation.update import Update
from server.engine.times import note_began, note_first_token

Call = Prefill[Prompt] | Step[Prompt]


class GenerationEngine(Engine[Generation, Call]):
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
        prefill_share: share of the time for reading prompts while rows are being decoded.
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
        self._cache = cache
        self._observer = observer
        self._takers: list[tuple[Callable[[int], bool], bool]] = []  # of the rows of the last step

    @property
    def num_running(self) -> int:
        """Rows in the batch."""
        return self._scheduler.num_running

    @property
    def num_waiting(self) -> int:
        """Rows that wait for their prompt to be read or for a place."""
        return self._scheduler.num_waiting

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

    def _schedule(self) -> Call | None:
        return self._scheduler.schedule()

    def _took(self, seconds: float) -> None:
        self._scheduler.took(seconds)

    def _requests_of(self, call: Call) -> Iterable[Generation]:
        if isinstance(call, Step):
            return (row.sequence.owner.generation for row in call.rows)
        return (chunk.sequence.owner.generation for chunk in call.chunks)

    def _failed(self, call: Call) -> None:
        if isinstance(call, Step):
            self._batch.clear()

    def _perform(self, call: Call) -> None:
        if isinstance(call, Prefill):
            self._prefill(call)
        else:
            self._step(call)

    def _prefill(self, call: Prefill[Prompt]) -> None:
        """Advance each chunk's state over its tokens, all in one call."""
        started = time.perf_counter()
        lengths = np.array([chunk.stop - chunk.start for chunk in call.chunks], np.int32)
        ids = np.zeros((len(lengths), lengths.max()), np.int64)
        prompts = [chunk.sequence.owner for chunk in call.chunks]
        note_began(prompt.generation.times for prompt in prompts)
        for row, chunk, prompt in zip(ids, call.chunks, prompts, strict=True):
            row[: chunk.stop - chunk.start] = prompt.tokens[chunk.start : chunk.stop]
        states = [self._initial_state if prompt.state is None else prompt.state for prompt in prompts]
        outputs = self._sequences.run("advance", {"ids": ids, "lengths": lengths, "state": np.stack(states)})
        for prompt, chunk, state in zip(prompts, call.chunks, outputs["new_state"], strict=True):
            prompt.state = state.copy()
            if not prompt.num_read:
                self._cache.put(prompt.tokens[: chunk.stop], prompt.state)
        self._observer.read(int(lengths.sum()), ids.size, time.perf_counter() - started)

    def _step(self, call: Step[Prompt]) -> None:
        """Give each row a token, and post what is new."""
        started = time.perf_counter()
        joining = [row.sequence.owner.generation.times for row in call.joining] if call.is_rearranged else []
        note_began(joining)
        tokens, logprobs = self._batch.step(call)
        self._observer.stepped(len(tokens), time.perf_counter() - started)
        if tokens.min() < 0:
            for i in np.flatnonzero(tokens < 0):
                self._fail_not_finite(call.rows[i].sequence.owner.generation)
        note_first_token(joining)
        if call.is_rearranged:
            self._takers = [_taker(row) for row in call.rows]
        for number, found in logprobs.items():
            row = call.rows[number]
            row.sequence.owner.continuations[row.choice].place(found)
        for row, (accept, is_streamed), token in zip(call.rows, self._takers, tokens.tolist(), strict=True):
            if token >= 0 and (accept(token) or is_streamed):
                self._tell(row)

    def _tell(self, row: Row[Prompt]) -> None:
        """Post what is new of a row, and free its place if it has ended."""
        if row.sequence.is_cancelled:  # its request failed in this step, by another of its rows
            return
        prompt = row.sequence.owner
        generation = prompt.generation
        continuation = prompt.continuations[row.choice]
        text = continuation.take()
        finish_reason = continuation.finish_reason
        if finish_reason is not None:
            if prompt.keeps_state:
                assert row.place is not None
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
        self._delivery.post(generation.mailbox, update)


def _taker(row: Row[Prompt]) -> tuple[Callable[[int], bool], bool]:
    """What takes a row's tokens, and whether its request wants to hear of each."""
    prompt = row.sequence.owner
    return prompt.continuations[row.choice].accept, prompt.generation.is_streamed
