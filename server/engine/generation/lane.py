"""A lane of a model that generates text.

Continuations turn tokens into text in the lane's thread, because a stop string must end a row before the next window.
A continuation without stop strings is given its tokens when it is due: at its end, or, as a stream, once a window
(server.engine.generation.token_log).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.decoding.beam_search import Hypothesis
from models.decoding.logprobs import Logprobs
from models.decoding.sampler import NOT_FINITE
from models.errors import RunnerError
from runtime.runner import Array, DecodeRunner, SequenceRunner, StepRunner
from server.engine.generation.batch import DecodeBatch, GenerationBatch, StepBatch, continuation_of, runs_in_decode
from server.engine.generation.beams import BeamBatch
from server.engine.generation.prefix_cache import CHUNK, Node, PrefixCache
from server.engine.generation.request import Prompt, TextOutput
from server.engine.lane import NOT_FINITE_MESSAGE, Lane, Observer
from server.engine.request import ScheduledItem
from server.engine.scheduler import Chunk, Item, Row, Scheduler, WindowLength

LEAST_PREFILL = 8  # tokens: fewer are read by the row's first window


def num_left(item: ScheduledItem) -> int:
    """Tokens that prefill calls have not read yet."""
    return item.num_prefill - item.num_read


class GenerationScheduler(Scheduler[Item]):
    """Which prompts are prefilled by calls of their own, and which chunks one such call reads. Pure.

    A prompt is read in one of two ways, with the same bits. A prefill call reads chunks of several prompts by
    `advance`; chunks end at multiples of CHUNK, where states are cached. Or the prompt's row joins at once and its
    tokens are fed (teacher-forced) inside the decode windows. Prefill calls stop the lane's other rows and are slow for
    few tokens, so they are made while few rows run, for long prompts, and where the state after the prompt is needed by
    itself: for several samples of one prompt, and for sessions.

    Args:
        num_slots: of the lane.
        prefill_tokens: tokens of one prefill call, at least CHUNK.
        prefill_share: share of the time for prefill calls while rows are decoded.
        prefill_max_rows: while at most this many rows run or have started, prompts are prefilled.
        forced_tokens: longest prompt whose tokens are fed inside the decode windows.
    """

    def __init__(
        self, *, num_slots: int, prefill_tokens: int, prefill_share: float, prefill_max_rows: int, forced_tokens: int
    ) -> None:
        super().__init__(num_slots=num_slots, prefill_share=prefill_share)
        if prefill_tokens < CHUNK:
            raise ValueError(f"prefill_tokens {prefill_tokens} must be >= {CHUNK}")
        self._prefill_tokens = prefill_tokens
        self._prefill_max_rows = prefill_max_rows
        self._forced_tokens = forced_tokens

    def _prefers_prefill(self, item: Item) -> bool:
        has_few_rows = self.num_running + self._num_started <= self._prefill_max_rows
        return num_left(item) > self._forced_tokens or (has_few_rows and num_left(item) >= LEAST_PREFILL)

    def _next_chunks(self) -> list[Chunk[Item]]:
        """A chunk of each prompt, until the call is full: one half for those that were begun first, so that what is
        begun comes to its end, the other for those that have the least left, so that short ones do not wait for it.
        """
        chunks: list[Chunk[Item]] = []
        num_free = self._prefill_tokens
        while self._prefilling:
            if num_free > self._prefill_tokens // 2:
                group = self._prefilling[0]
            else:
                group = min(self._prefilling, key=lambda group: num_left(group.prefilling[0]))
            item = group.prefilling[0]
            start = item.num_read
            stop = min((start // CHUNK + 1) * CHUNK, item.num_prefill)
            if stop - start > num_free:
                break
            num_free -= stop - start
            self._prefilling.remove(group)
            group.prefilling.popleft()
            if group.prefilling:
                self._prefilling.append(group)
            chunks.append(Chunk(item, start, stop))
        return chunks


class GenerationLane(Lane[Prompt, GenerationBatch | BeamBatch]):
    """Generates text for many requests at once.

    Args:
        name: the thread's, and the log's.
        scheduler: of this lane alone.
        window: of this lane alone.
        steps: runs `step`; its capacity is at least twice the lane's rows.
        sequences: runs `advance`.
        decoder: runs `decode`; None where the set has none.
        chooser: runs `choose`; None where the set has none.
        beam_steps: gives another runner of `step`, as large, for beam searches; called when the first one comes.
        state_width: D.
        vocab_size: V.
        end_id: the end token's id, or None.
        cache: states of prompts, shared by the model's lanes.
        observer: counts.
    """

    def __init__(
        self,
        name: str,
        scheduler: GenerationScheduler[Prompt],
        window: WindowLength,
        *,
        steps: StepRunner,
        sequences: SequenceRunner,
        decoder: DecodeRunner | None,
        chooser: SequenceRunner | None,
        beam_steps: Callable[[], StepRunner],
        state_width: int,
        vocab_size: int,
        end_id: int | None,
        cache: PrefixCache,
        observer: Observer,
    ) -> None:
        self._sequence_runner = sequences
        self._vocab_size = vocab_size
        self._cache = cache
        self._nodes: dict[Prompt, tuple[int, Node]] = {}  # where the cache goes on with prompts that are being read
        self._initial_state = np.zeros(state_width, np.float32)
        self._step_batch = StepBatch(steps, chooser, self._initial_state, vocab_size, end_id)
        self._decode_batch: DecodeBatch | None = None
        self._beam_steps, self._end_id = beam_steps, end_id
        self._beam_batch: BeamBatch | None = None
        batches: list[GenerationBatch | BeamBatch] = [self._step_batch]
        if decoder is not None:
            self._decode_batch = DecodeBatch(decoder, self._initial_state, end_id)
            batches.insert(0, self._decode_batch)
        super().__init__(name, scheduler, batches, window, observer)

    def _batch_of(self, item: Prompt) -> GenerationBatch | BeamBatch:
        if item.request.beam is not None:
            if self._beam_batch is None:
                self._beam_batch = BeamBatch(self._beam_steps(), self._initial_state, self._end_id)
                self._batches.append(self._beam_batch)
            return self._beam_batch
        is_chosen = item.given is None
        if self._decode_batch is not None and is_chosen and runs_in_decode(item.request.options, self._vocab_size):
            return self._decode_batch
        return self._step_batch

    def _add(self, item: Prompt) -> None:
        if item.num_prefill and not item.num_read:
            prefix = self._cache.find(item.tokens[:-1])
            item.num_read = item.num_cached = prefix.num_tokens
            item.state = prefix.state
            self._nodes[item] = prefix.num_tokens, prefix.node
            self._observer.looked_up(prefix.num_tokens, item.num_prefill)
        item.needs_prefill = item.num_rows > 1 or item.keeps_state or self._batch_of(item) is not self._decode_batch
        super()._add(item)

    def _close(self, item: Prompt) -> None:
        super()._close(item)
        self._nodes.pop(item, None)
        if not item.keeps_state:
            item.state = None

    def _prefill(self, chunks: list[Chunk[Prompt]]) -> int:
        """Advance each chunk's state over its tokens, all in one call."""
        lengths = np.array([chunk.stop - chunk.start for chunk in chunks], np.int32)
        ids = np.zeros((len(chunks), lengths.max()), np.int64)
        states = np.empty((len(chunks), len(self._initial_state)), np.float32)
        for i, chunk in enumerate(chunks):
            prompt = chunk.item
            ids[i, : lengths[i]] = prompt.tokens[chunk.start : chunk.stop]
            states[i] = self._initial_state if prompt.state is None else prompt.state
        new_states = self._advance(ids, lengths, states)
        for chunk, state in zip(chunks, new_states, strict=True):
            prompt = chunk.item
            prompt.state = state.copy()
            self._keep(prompt, chunk.stop, prompt.state)
        return ids.size

    def _advance(
        self, ids: NDArray[np.int64], lengths: NDArray[np.int32], states: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        inputs: dict[str, Array] = {"ids": ids, "lengths": lengths, "state": states}
        new_states: NDArray[np.float32] = self._sequence_runner.run("advance", inputs)["new_state"]
        return new_states

    def _keep(self, prompt: Prompt, num_read: int, state: NDArray[np.float32]) -> None:
        """Cache the state after the first tokens of a prompt, if the cache goes on there."""
        if prompt not in self._nodes:
            return
        start, node = self._nodes[prompt]
        is_next = start % CHUNK == 0 and start < num_read <= start + CHUNK
        if is_next and np.isfinite(state).all():
            self._nodes[prompt] = num_read, self._cache.extend(node, prompt.tokens[start:num_read], state)
        else:
            del self._nodes[prompt]

    def _run_batch(self, batch: GenerationBatch | BeamBatch, num_steps: int) -> int:
        if isinstance(batch, BeamBatch):
            return self._run_searches(batch, num_steps)
        window = batch.run(num_steps)
        for prompt, num_read, state in window.chunk_states:
            self._keep(prompt, num_read, state)
        broken = []
        for row, tokens, logprobs in window.due:
            if self._handle(row, tokens, logprobs):
                broken.append(row)
            elif row.index >= 0:
                batch.set_due(row)
        for row in broken:  # last, because all rows of their prompts leave
            self._fail(row.item, NOT_FINITE_MESSAGE)
        return num_steps

    def _run_searches(self, batch: BeamBatch, num_steps: int) -> int:
        window = batch.run(num_steps)
        for row in window.broken:
            self._fail(row.item, NOT_FINITE_MESSAGE)
        for row in window.over:
            self._emit_found(row, batch.searches[row].results())
        return window.num_steps

    def _emit_found(self, row: Row[Prompt], found: list[Hypothesis]) -> None:
        """Send what a search has found, the best first."""
        prompt = row.item
        if len(found) < len(prompt.continuations):
            self._fail(prompt, f"Only {len(found)} continuations are possible; ask for fewer (n).")
            return
        self._finish(row)
        for number, (hypothesis, continuation) in enumerate(zip(found, prompt.continuations, strict=True)):
            continuation.extend(hypothesis.ids)
            reason = hypothesis.finish_reason
            num_tokens = len(hypothesis.ids) + (reason == "stop")
            text = continuation.take_last()
            self._sender.post(
                prompt.request.outputs, TextOutput(prompt.first_index + number, text, reason, None, num_tokens)
            )

    def _handle(self, row: Row[Prompt], tokens: list[int], logprobs: Logprobs | None) -> bool:
        """Give a row's continuation its tokens, and emit what is new if it has ended or is a stream.

        Returns:
            Whether the row must fail: its logits were not finite before it ended.
        """
        request = row.item.request
        continuation = continuation_of(row)
        is_broken = NOT_FINITE in tokens
        if is_broken:
            tokens = tokens[: tokens.index(NOT_FINITE)]
        has_ended = bool(tokens) and continuation.extend(tokens, logprobs)
        if has_ended or (request.is_streamed and tokens and not is_broken):
            self._emit(row)
        return is_broken and not has_ended

    def _emit(self, row: Row[Prompt]) -> None:
        """Send what is new of a row, and free its slot if it has ended."""
        prompt = row.item
        continuation = continuation_of(row)
        text = continuation.take()
        finish_reason = continuation.finish_reason
        if finish_reason is not None:
            if prompt.keeps_last_state:
                try:
                    prompt.last_state = self._last_state(row)
                except RunnerError as error:
                    self._fail_call([prompt], error)
                    return
            kept = (prompt.state, prompt.last_state) if prompt.keeps_state else ()
            if any(state is not None and not np.isfinite(state).all() for state in kept):
                self._fail(prompt, NOT_FINITE_MESSAGE)  # no session goes on from it
                return
            self._finish(row)
        elif not text:
            return
        output = TextOutput(
            prompt.first_index + row.choice,
            text,
            finish_reason,
            continuation.stop_reason,
            continuation.num_tokens,
            continuation.take_placed(),
        )
        self._sender.post(prompt.request.outputs, output)

    def _last_state(self, row: Row[Prompt]) -> NDArray[np.float32] | None:
        """The state after a row's prompt and the whole tokens of its answer but the last one."""
        prompt = row.item
        answer = np.array(continuation_of(row).whole_tokens(), np.int64)
        if not len(answer):
            return prompt.state
        batch = self._batch_of(prompt)
        tokens = np.concatenate([prompt.tokens, answer])
        if isinstance(batch, DecodeBatch):
            state = batch.state_after(row, tokens)
            if state is not None:
                return state
        start = self._initial_state if prompt.state is None else prompt.state
        ids = tokens[prompt.num_read : -1][None]
        last: NDArray[np.float32] = self._advance(ids, np.array([ids.shape[1]], np.int32), start[None])[0]
        return last.copy()
