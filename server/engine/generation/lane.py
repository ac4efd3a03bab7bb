"""A lane of a model that generates text.

Continuations turn tokens into text in the lane's thread, because a stop string must end a row before the next window.
A continuation without stop strings is given its tokens when it is due: at its end, or, as a stream, once a window
(server.engine.generation.token_log).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.decoding.logprobs import TokenLogprob
from models.decoding.sampler import NOT_FINITE
from models.errors import RunnerError
from runtime.runner import Array, DecodeRunner, SequenceRunner, StepRunner
from server.engine.decoding_lane import DecodingLane
from server.engine.generation.batch import DecodeBatch, GenerationBatch, StepBatch, continuation_of, runs_in_decode
from server.engine.generation.prefix_cache import CHUNK, Node, PrefixCache
from server.engine.generation.request import Prompt, TextOutput
from server.engine.generation.scheduler import GenerationScheduler
from server.engine.lane import Observer
from server.engine.scheduler import Chunk, Row
from server.engine.scheduler import Sequence as ScheduledSequence
from server.engine.window import WindowLength


@dataclass(frozen=True, kw_only=True)
class GenerationRunners:
    """What runs a model's graphs for one lane.

    Attributes:
        steps: runs `step`; its capacity is at least twice the lane's rows.
        sequences: runs `advance`, and `choose` where the set has it.
        decoder: runs `decode`; None where the set has none.
        has_choose: whether the set has `choose`.
    """

    steps: StepRunner
    sequences: SequenceRunner
    decoder: DecodeRunner | None
    has_choose: bool


class GenerationLane(DecodingLane[Prompt]):
    """Generates text for many requests at once.

    Args:
        name: the thread's, and the log's.
        runners: used by this lane alone, unless they say otherwise.
        scheduler: of this lane alone.
        window: of this lane alone.
        state_width: D.
        vocab_size: V.
        end_id: the end token's id, or None.
        cache: states of prompts, shared by the model's lanes.
        observer: counts.
    """

    def __init__(
        self,
        name: str,
        runners: GenerationRunners,
        scheduler: GenerationScheduler[Prompt],
        window: WindowLength,
        *,
        state_width: int,
        vocab_size: int,
        end_id: int | None,
        cache: PrefixCache,
        observer: Observer,
    ) -> None:
        super().__init__(name, scheduler, window, observer)
        self._sequence_runner = runners.sequences
        self._vocab_size = vocab_size
        self._cache = cache
        self._nodes: dict[Prompt, tuple[int, Node]] = {}  # where the cache goes on with prompts that are being read
        self._initial_state = np.zeros(state_width, np.float32)
        chooser = runners.sequences if runners.has_choose else None
        self._step_batch = StepBatch(
            runners.steps, chooser, self._initial_state, vocab_size, end_id, self._handle, self._fail_row
        )
        self._decode_batch: DecodeBatch | None = None
        if runners.decoder is not None:
            self._decode_batch = DecodeBatch(
                runners.decoder, self._initial_state, end_id, self._handle, self._fail_row, self._handle_read
            )
        self._batches: Sequence[GenerationBatch] = [
            batch for batch in (self._decode_batch, self._step_batch) if batch is not None
        ]

    def _batch_of(self, item: Prompt) -> GenerationBatch:
        if self._decode_batch is not None and runs_in_decode(item.options, self._vocab_size):
            return self._decode_batch
        return self._step_batch

    def _begin(self, item: Prompt) -> None:
        num_wanted = len(item.tokens) - 1 - item.num_read
        if num_wanted and not item.num_read:
            prefix = self._cache.find(item.tokens[:-1])
            item.num_read = item.num_cached = prefix.num_tokens
            item.state = prefix.state
            self._nodes[item] = prefix.num_tokens, prefix.node
            self._observer.looked_up(prefix.num_tokens, num_wanted)
        needs_prefill = item.num_rows > 1 or item.keeps_state or self._batch_of(item) is self._step_batch
        self._schedule(
            ScheduledSequence(
                item,
                len(item.tokens),
                item.outputs,
                num_rows=item.num_rows,
                num_prefilled=item.num_read,
                needs_prefill=needs_prefill,
            )
        )

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
            prompt = chunk.sequence.owner
            ids[i, : lengths[i]] = prompt.tokens[chunk.start : chunk.stop]
            states[i] = self._initial_state if prompt.state is None else prompt.state
        new_states = self._advance(ids, lengths, states)
        for chunk, state in zip(chunks, new_states, strict=True):
            prompt = chunk.sequence.owner
            prompt.state = state.copy()
            prompt.num_read = chunk.stop
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

    def _handle_read(self, row: Row[Prompt], num_read: int, state: NDArray[np.float32]) -> None:
        """A window has ended at the end of a chunk of a row's prompt."""
        self._keep(row.sequence.owner, num_read, state)

    def _handle(self, row: Row[Prompt], tokens: list[int], logprobs: list[TokenLogprob]) -> bool:
        """Give a row's continuation its tokens, and emit what is new if it has ended or is a stream.

        Returns:
            Whether the row must fail: its logits were not finite before it ended.
        """
        prompt = row.sequence.owner
        continuation = continuation_of(row)
        is_broken = NOT_FINITE in tokens
        if is_broken:
            tokens = tokens[: tokens.index(NOT_FINITE)]
        has_ended = False
        if prompt.options.logprobs is None:
            has_ended = bool(tokens) and continuation.extend(tokens)
        else:
            for token, found in zip(tokens, logprobs, strict=False):
                continuation.place(found)
                has_ended = continuation.extend([token])
                if has_ended:
                    break
        if has_ended or (prompt.is_streamed and tokens and not is_broken):
            self._emit(row)
        return is_broken and not has_ended

    def _fail_row(self, row: Row[Prompt]) -> None:
        self._fail_not_finite(row.sequence.owner)

    def _emit(self, row: Row[Prompt]) -> None:
        """Send what is new of a row, and free its slot if it has ended."""
        prompt = row.sequence.owner
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
                self._fail_not_finite(prompt)  # no session goes on from it
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
        self._sender.post(prompt.outputs, output)

    def _last_state(self, row: Row[Prompt]) -> NDArray[np.float32] | None:
        """The state after a row's prompt and the whole tokens of its answer but the last one."""
        prompt = row.sequence.owner
        answer = np.array(continuation_of(row).whole_tokens(), np.int64)
        batch = self._batch_of(prompt)
        tokens = np.concatenate([prompt.tokens, answer])
        state = batch.state_after(row, tokens) if isinstance(batch, DecodeBatch) else None
        if state is not None or not len(answer):
            return prompt.state if state is None else state
        start = self._initial_state if prompt.state is None else prompt.state
        ids = tokens[prompt.num_read : -1][None]
        last: NDArray[np.float32] = self._advance(ids, np.array([ids.shape[1]], np.int32), start[None])[0]
        return last.copy()
