"""The rows of a lane that generate text, by slot: one batch for each path that a row's tokens are chosen by.

Which path a row takes depends on its own options alone (`runs_in_decode`), never on what else is in the batch, because
the last bits of a weight differ between them. `DecodeBatch` runs windows of several steps in one call of the graph
`decode`, the choice of the tokens inside; a prompt's tokens can be forced rows of the same call. `StepBatch` runs the
graph `step` once for each step, changes the logits as the row's options want, and chooses outside.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.decoding.continuation import Continuation
from models.decoding.logprobs import TokenLogprob, token_logprobs
from models.decoding.options import GenerationOptions
from models.decoding.penalties import Penalties, PenaltyRow, changes_logits, penalty_row
from models.decoding.sampler import FILTERED, ROW, Sampler, sampling_row
from models.decoding.uniforms import uniforms
from runtime.runner import Array, DecodeRunner, SequenceRunner, StepRunner
from server.engine.generation.prefix_cache import CHUNK
from server.engine.generation.request import Prompt
from server.engine.generation.token_log import TokenLog
from server.engine.scheduler import Row

NARROW = 256  # up to so many ids, filters and log-probabilities are had from `decode` (docs/export.md)

Handler = Callable[[Row[Prompt], list[int], list[TokenLogprob]], None]
ReadHandler = Callable[[Row[Prompt], int, NDArray[np.float32]], None]


def runs_in_decode(options: GenerationOptions, vocab_size: int) -> bool:
    """Whether a row's tokens are chosen inside the graph `decode`."""
    is_filtered = options.top_k > 0 or options.top_p < 1 or options.logprobs is not None
    return not changes_logits(options) and (vocab_size <= NARROW or not is_filtered)


class GenerationBatch(ABC):
    """What both paths share: rows by slot, and the log of their tokens.

    Args:
        capacity: the most rows.
        end_id: the end token's id, or None.
        handle: called with each row that is due, its tokens (negative where the logits were not finite) and, if it
            wants them, their log-probabilities; in falling order of slots, so that it may remove the row.
    """

    def __init__(self, capacity: int, end_id: int | None, handle: Handler) -> None:
        self.rows: list[Row[Prompt]] = []
        self._log = TokenLog(capacity, end_id)
        self._end_id = end_id
        self._handle = handle
        self._unstarted: dict[Row[Prompt], None] = {}  # rows that have no token yet
        self._logprobs: dict[Row[Prompt], list[TokenLogprob]] = {}  # of rows that want them: not yet handled

    @abstractmethod
    def _put(self, slot: int, row: Row[Prompt]) -> int:
        """A row joins; how many of its first tokens are forced."""

    @abstractmethod
    def _move(self, slot: int, source: int) -> None:
        """A row goes to another slot."""

    @abstractmethod
    def _decode(self, num_steps: int) -> tuple[NDArray[np.int64], NDArray[np.float32] | None]:
        """Decode a window: tokens int64 [steps, n], and logits float32 [steps, n, V] if a row wants logprobs."""

    def add(self, row: Row[Prompt]) -> None:
        """A row joins."""
        slot = len(self.rows)
        num_forced = self._put(slot, row)
        row.slot = slot
        self.rows.append(row)
        self._log.begin(slot, num_forced)
        self._unstarted[row] = None
        if row.sequence.owner.options.logprobs is not None:
            self._logprobs[row] = []
        self.schedule(row)

    def schedule(self, row: Row[Prompt]) -> None:
        """Let a row be due when it may end or, as a stream, has something to emit."""
        prompt = row.sequence.owner
        continuation = continuation_of(row)
        is_watched = prompt.is_streamed or row in self._logprobs
        self._log.schedule(row.slot, 1 if is_watched else continuation.num_until_end)

    def remove(self, row: Row[Prompt]) -> None:
        """A row leaves; a no-op if it has left. The last row takes its slot."""
        slot = row.slot
        if slot < 0:
            return
        row.slot = -1
        self._forget(row)
        last = self.rows.pop()
        if last is not row:
            self.rows[slot] = last
            last.slot = slot
            self._move(slot, len(self.rows))
            self._log.move(slot, len(self.rows))

    def clear(self) -> None:
        """All rows leave: a call has failed."""
        while self.rows:
            self.remove(self.rows[-1])

    def num_wanted(self, most: int) -> int:
        """See RowBatch."""
        num_wanted = 1
        for row in self.rows:
            num_wanted = max(num_wanted, self._num_wanted(row))
            if num_wanted >= most:
                return most
        return num_wanted

    def run(self, num_steps: int) -> None:
        """See RowBatch."""
        for row in self._unstarted:
            row.sequence.owner.times.note_began()
        tokens, logits = self._decode(num_steps)
        due = self._log.append(tokens)
        for row in [row for row in self._unstarted if self._log.has_begun(row.slot)]:
            del self._unstarted[row]
            row.sequence.owner.times.note_first_token()
        if logits is not None:
            self._keep_logprobs(tokens, logits)
        for row in [self.rows[slot] for slot in reversed(due)]:
            self._handle(row, self._log.take(row.slot), self._logprobs.get(row, []))
            if row.slot >= 0:
                if row in self._logprobs:
                    self._logprobs[row] = []
                self.schedule(row)

    def _num_wanted(self, row: Row[Prompt]) -> int:
        """Steps that a row can still use, or more."""
        return row.sequence.owner.options.max_tokens - continuation_of(row).num_tokens

    def _forget(self, row: Row[Prompt]) -> None:
        self._unstarted.pop(row, None)
        self._logprobs.pop(row, None)

    def _keep_logprobs(self, tokens: NDArray[np.int64], logits: NDArray[np.float32]) -> None:
        """Note the log-probabilities of what was chosen; forced tokens have none."""
        for row, found in self._logprobs.items():
            num_new = min(self._log.num_new(row.slot), len(tokens))
            column = tokens[len(tokens) - num_new :, row.slot]
            num_finite = int((column < 0).argmax()) if (column < 0).any() else num_new
            if num_finite:
                first = len(tokens) - num_new
                seen = np.ascontiguousarray(logits[first : first + num_finite, row.slot])
                num_top = row.sequence.owner.options.logprobs or 0
                found += token_logprobs(seen, column[:num_finite], [num_top] * num_finite)


def continuation_of(row: Row[Prompt]) -> Continuation:
    """What the row generates."""
    return row.sequence.owner.continuations[row.choice]


class DecodeBatch(GenerationBatch):
    """Rows whose tokens are chosen inside the graph `decode`.

    Args:
        runner: holds the states.
        initial_state: float32 [D], the state before the first token.
        end_id: the end token's id, or None.
        handle: see GenerationBatch.
        handle_read: called when a window has ended at a multiple of CHUNK inside a row's prompt, with the number of
            tokens read and a copy of the state after them.
    """

    def __init__(
        self,
        runner: DecodeRunner,
        initial_state: NDArray[np.float32],
        end_id: int | None,
        handle: Handler,
        handle_read: ReadHandler,
    ) -> None:
        super().__init__(runner.capacity, end_id, handle)
        self._runner = runner
        self._initial_state = initial_state
        self._handle_read = handle_read
        self._names = runner.input_names
        self._reading: dict[Row[Prompt], None] = {}  # rows whose prompts' tokens are being forced
        self._num_steps = 0  # of the last window
        capacity = runner.capacity
        self._token = np.zeros(capacity, np.int64)  # by slot: the next input
        self._num_read = np.zeros(capacity, np.int64)  # tokens that the state has read
        self._key = np.zeros(capacity, np.uint64)
        self._end_from = np.zeros(capacity, np.int64)  # first position at which the end token may be chosen
        self._temperature = np.zeros(capacity, np.float32)
        self._is_filtered = np.zeros(capacity, np.bool_)
        filters: dict[str, Array] = {
            "min_p": np.zeros(capacity, np.float32),
            "top_k": np.zeros(capacity, np.int64),
            "top_p": np.zeros(capacity, np.float64),
        }
        self._filters = {name: values for name, values in filters.items() if name in self._names}
        self._by_slot: tuple[Array, ...] = (
            self._token,
            self._num_read,
            self._key,
            self._end_from,
            self._temperature,
            self._is_filtered,
            *self._filters.values(),
        )

    def state_after(self, row: Row[Prompt], tokens: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """The state after all but the last of these tokens, if the last window has run over it.

        Args:
            row: it was in the last window, and neither it nor a row above it has moved since.
            tokens: int64 [length], the row's prompt and answer, or the beginning of them.

        Returns:
            float32 [D]; None when the state lies before the last window.
        """
        num_steps = self._num_steps
        start = int(self._num_read[row.slot]) - num_steps
        num_more = len(tokens) - 1 - start
        if num_more == num_steps:
            return self._runner.get(row.slot)
        if num_more < 0:
            return None
        before = self._runner.previous(row.slot)
        if not num_more:
            return before
        forced = np.zeros((num_more, 1), np.int64)
        forced[:-1, 0] = tokens[start + 1 : -1]
        inputs = self._inputs(slice(row.slot, row.slot + 1), num_more, forced)
        inputs["token"] = tokens[start : start + 1]
        return self._runner.replay(before, inputs)

    def _put(self, slot: int, row: Row[Prompt]) -> int:
        prompt = row.sequence.owner
        (chosen,) = sampling_row(prompt.options, seed=prompt.seed, choice=row.choice, position=len(prompt.tokens))
        self._runner.put(slot, self._initial_state if prompt.state is None else prompt.state)
        self._token[slot] = prompt.tokens[prompt.num_read]
        self._num_read[slot] = prompt.num_read
        self._key[slot] = chosen["key"]
        self._end_from[slot] = chosen["end_from"]
        self._temperature[slot] = chosen["temperature"]
        self._is_filtered[slot] = chosen["kind"] == FILTERED
        for name, values in self._filters.items():
            values[slot] = chosen[name]
        num_forced = len(prompt.tokens) - 1 - prompt.num_read
        if num_forced:
            self._reading[row] = None
        return num_forced

    def _move(self, slot: int, source: int) -> None:
        self._runner.move(slot, source)
        for values in self._by_slot:
            values[slot] = values[source]

    def _forget(self, row: Row[Prompt]) -> None:
        super()._forget(row)
        self._reading.pop(row, None)

    def _num_wanted(self, row: Row[Prompt]) -> int:
        return super()._num_wanted(row) + (len(row.sequence.owner.tokens) if row in self._reading else 0)

    def _decode(self, num_steps: int) -> tuple[NDArray[np.int64], NDArray[np.float32] | None]:
        num_rows = len(self.rows)
        forced = np.full((num_steps, num_rows), -1, np.int64)
        for row in self._reading:
            start = int(self._num_read[row.slot]) + 1
            tokens = row.sequence.owner.tokens[start : start + num_steps]
            forced[: len(tokens), row.slot] = tokens
        wanted = ("tokens", "logits") if self._logprobs else ("tokens",)
        tokens, *logits = self._runner.decode(num_rows, self._inputs(slice(num_rows), num_steps, forced), wanted)
        self._num_steps = num_steps
        last = tokens[-1]
        self._token[:num_rows] = last if not self._reading else np.where(forced[-1] >= 0, forced[-1], last)
        self._num_read[:num_rows] += num_steps
        if self._reading:
            self._note_read()
        return tokens, logits[0] if logits else None

    def _inputs(self, slots: slice, num_steps: int, forced: NDArray[np.int64]) -> dict[str, Array]:
        """The inputs of a window for the rows of some slots."""
        positions = self._num_read[slots] + 1
        inputs: dict[str, Array] = {
            "token": self._token[slots],
            "forced": forced,
            "uniforms": uniforms(self._key[slots], positions, num_steps),
            "temperature": self._temperature[slots],
        }
        if self._is_filtered[slots].any():
            inputs |= {name: values[slots] for name, values in self._filters.items()}
        if "can_end" in self._names:
            inputs["can_end"] = positions + np.arange(num_steps)[:, None] >= self._end_from[slots]
        return inputs

    def _note_read(self) -> None:
        """Hand on the states at ends of chunks, and forget the rows whose prompts are read."""
        for row in list(self._reading):
            num_read, num_tokens = int(self._num_read[row.slot]), len(row.sequence.owner.tokens)
            if num_read % CHUNK == 0 and num_read < num_tokens:
                self._handle_read(row, num_read, self._runner.get(row.slot))
            if num_read >= num_tokens - 1:
                del self._reading[row]


class StepBatch(GenerationBatch):
    """Rows whose tokens are chosen outside the graph; their prompts are prefilled but for the last token.

    Args:
        runner: holds the states; its capacity is at least twice the rows.
        chooser: runs the graph `choose`, made of the nodes that choose inside `decode`, so that what a row wants to
            know of its tokens never changes them; None where the set has none.
        initial_state: float32 [D], the state before the first token.
        vocab_size: V.
        end_id: the end token's id, or None.
        handle: see GenerationBatch.
    """

    def __init__(
        self,
        runner: StepRunner,
        chooser: SequenceRunner | None,
        initial_state: NDArray[np.float32],
        vocab_size: int,
        end_id: int | None,
        handle: Handler,
    ) -> None:
        super().__init__(runner.capacity // 2, end_id, handle)
        self._runner = runner
        self._chooser = chooser
        self._sampler = Sampler(end_id)
        self._initial_state = initial_state
        self._vocab_size = vocab_size
        capacity = runner.capacity // 2
        self._token = np.zeros(capacity, np.int64)  # by slot: the next input
        self._in_place = np.arange(capacity)  # every row continues from its own slot
        self._sampling = np.zeros(capacity, ROW)
        self._is_sampled = np.zeros(capacity, np.bool_)  # chosen by the numpy sampler, not by `choose`
        self._penalty_rows: list[PenaltyRow | None] = [None] * capacity
        self._penalties: Penalties | None = None  # made anew when rows change

    def _put(self, slot: int, row: Row[Prompt]) -> int:
        prompt = row.sequence.owner
        options = prompt.options
        self._runner.put(slot, self._initial_state if prompt.state is None else prompt.state)
        self._token[slot] = prompt.tokens[-1]
        position = len(prompt.tokens)
        self._sampling[slot] = sampling_row(options, seed=prompt.seed, choice=row.choice, position=position)[0]
        is_wide_filter = self._vocab_size > NARROW and (options.top_k > 0 or options.top_p < 1)
        self._is_sampled[slot] = self._chooser is None or is_wide_filter
        self._penalty_rows[slot] = penalty_row(options, prompt.tokens, self._vocab_size)
        self._penalties = None
        return 0

    def _move(self, slot: int, source: int) -> None:
        self._runner.put(slot, self._runner.get(source))
        for values in (self._token, self._sampling, self._is_sampled):
            values[slot] = values[source]
        self._penalty_rows[slot] = self._penalty_rows[source]

    def _forget(self, row: Row[Prompt]) -> None:
        super()._forget(row)
        self._penalties = None

    def _decode(self, num_steps: int) -> tuple[NDArray[np.int64], NDArray[np.float32] | None]:
        num_rows = len(self.rows)
        if self._penalties is None:
            for slot in range(num_rows, len(self._penalty_rows)):
                self._penalty_rows[slot] = None  # of rows that have left
            self._penalties = Penalties(self._penalty_rows[:num_rows])
        chosen = np.empty((num_steps, num_rows), np.int64)
        seen: list[NDArray[np.float32]] = []
        for step in range(num_steps):
            logits = self._runner.step(self._token[:num_rows], self._in_place[:num_rows])
            chosen[step] = self._choose(self._penalties.applied(logits), num_rows)
            if self._logprobs:
                seen.append(logits.copy())
            self._penalties.note(chosen[step])
            self._token[:num_rows] = chosen[step]
            self._sampling["position"][:num_rows] += 1
        return chosen, np.stack(seen) if seen else None

    def _choose(self, logits: NDArray[np.float32], num_rows: int) -> NDArray[np.int64]:
        """The next tokens, int64 [n]."""
        sampling, is_sampled = self._sampling[:num_rows], self._is_sampled[:num_rows]
        if self._chooser is None or is_sampled.all():
            return self._sampler.choose(logits, sampling)
        tokens = np.empty(num_rows, np.int64)
        (inside,), (outside,) = np.nonzero(~is_sampled), np.nonzero(is_sampled)
        tokens[inside] = choose(self._chooser, logits[inside], sampling[inside], self._end_id, self._vocab_size)
        if len(outside):
            tokens[outside] = self._sampler.choose(np.ascontiguousarray(logits[outside]), sampling[outside])
        return tokens


def choose(
    chooser: SequenceRunner, logits: NDArray[np.float32], rows: NDArray[np.void], end_id: int | None, vocab_size: int
) -> NDArray[np.int64]:
    """Run the graph `choose`.

    Args:
        chooser: runs it.
        logits: float32 [n, V].
        rows: dtype ROW, [n].
        end_id: the end token's id, or None.
        vocab_size: V.

    Returns:
        int64 [n], negative where the logits are not finite.
    """
    names = ["temperature", "min_p", *(["top_k", "top_p"] if vocab_size <= NARROW else [])]
    inputs: dict[str, Array] = {name: np.ascontiguousarray(rows[name]) for name in names}
    (inputs["uniforms"],) = uniforms(rows["key"], rows["position"])
    if end_id is not None:
        inputs["can_end"] = rows["position"] >= rows["end_from"]
    tokens: NDArray[np.int64] = chooser.run("choose", {"logits": logits, **inputs})["tokens"]
    return tokens
