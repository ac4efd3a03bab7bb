"""The rows of a lane that generate text: one batch for each path by which a row's tokens are chosen.

Which path a row takes depends on its own options alone (`runs_in_decode`), never on what else is in the batch, because
the last bits of a weight differ between them. `DecodeBatch` runs windows of several steps in one call of the graph
`decode`, the choice of the tokens inside; a prompt's tokens can be fed (teacher-forced) in the same call. `StepBatch`
runs the graph `step` once for each step, changes the logits as the row's options want, and chooses outside.
"""

from abc import abstractmethod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.continuation import Continuation
from models.decoding.inverse_cdf import NARROW
from models.decoding.logprobs import Logprobs, token_logprobs
from models.decoding.options import GenerationOptions
from models.decoding.penalties import Penalties, PenaltyRow, penalty_row
from models.decoding.sampler import FILTERED, ROW, Sampler, sampling_row
from models.decoding.uniforms import uniforms
from runtime.runner import Array, DecodeRunner, SequenceRunner, StepRunner
from server.engine.generation.prefix_cache import CHUNK
from server.engine.generation.request import Prompt
from server.engine.generation.token_log import TokenLog
from server.engine.lane import Batch
from server.engine.scheduler import Row

FEW_ROWS = 4
MAX_VOCAB_FILTERED_IN_GRAPH = NARROW  # for more ids `decode` and `choose` have no top_k, top_p and logits


def runs_in_decode(options: GenerationOptions, vocab_size: int) -> bool:
    """Whether a row's tokens are chosen inside the graph `decode`."""
    is_filtered = options.top_k > 0 or options.top_p < 1 or options.logprobs is not None
    return not options.changes_logits and (vocab_size <= MAX_VOCAB_FILTERED_IN_GRAPH or not is_filtered)


class Window(NamedTuple):
    """What came of a window.

    Attributes:
        due: rows whose tokens are to be processed, with these tokens (negative where the logits were not finite) and
            their log-probabilities, where the row wants them; in falling order of indices, so that each may be removed
            when it is processed without moving one that is still to come.
        chunk_states: of prompts whose tokens are fed and that have been read to a multiple of CHUNK: the number of
            tokens read, and the state float32 [D] after them.
    """

    due: list[tuple[Row[Prompt], list[int], Logprobs | None]]
    chunk_states: list[tuple[Prompt, int, NDArray[np.float32]]]


class GenerationBatch(Batch[Prompt]):
    """What both paths share: the log of the rows' tokens.

    Args:
        capacity: the most rows.
        end_id: the end token's id, or None.
    """

    def __init__(self, capacity: int, end_id: int | None) -> None:
        super().__init__()
        self._log = TokenLog(capacity, end_id)
        self._end_id = end_id
        self._unstarted: dict[Row[Prompt], None] = {}  # rows that have no token yet
        self._logprobs: dict[Row[Prompt], list[Logprobs]] = {}  # of rows that want them: since they were last due

    @abstractmethod
    def _decode(self, num_steps: int) -> tuple[NDArray[np.int64], NDArray[np.float32] | None]:
        """Decode a window: tokens int64 [steps, n], and logits float32 [steps, n, V] if a row wants logprobs."""

    def run(self, num_steps: int) -> Window:
        """Decode a window; `set_due` must follow for the rows that were due and stay.

        Raises:
            RunnerError: the runtime failed.
        """
        for row in self._unstarted:
            row.item.request.times.note_began()
        tokens, logits = self._decode(num_steps)
        indices = self._log.append(tokens)
        for row in [row for row in self._unstarted if self._log.num_new(row.index) > 0]:
            del self._unstarted[row]
            row.item.request.times.note_first_token()
        if logits is not None:
            self._keep_logprobs(tokens, logits)
        due = []
        for index in reversed(indices):
            row = self.rows[index]
            logprobs = self._logprobs.get(row)
            due.append((row, self._log.take(index), Logprobs.joined(logprobs) if logprobs else None))
            if logprobs:
                self._logprobs[row] = []
        return Window(due, self._chunk_states())

    def set_due(self, row: Row[Prompt]) -> None:
        """Let a row be due when it may end or, as a stream, has something to emit."""
        is_streamed = row.item.request.is_streamed
        self._log.set_due(row.index, 1 if is_streamed else continuation_of(row).num_until_end)

    def num_wanted(self, most: int) -> int:
        """See Batch. While few rows run, a stream's first token is not kept waiting for the end of a long window."""
        if len(self.rows) <= FEW_ROWS and any(
            row.item.request.is_streamed and self._log.num_new(row.index) == 0 for row in self._unstarted
        ):
            return 1
        num_wanted = 1
        for row in self.rows:
            num_left = row.item.request.options.max_tokens - continuation_of(row).num_tokens
            num_wanted = max(num_wanted, num_left - self._log.num_new(row.index))
            if num_wanted >= most:
                return most
        return num_wanted

    def _put(self, row: Row[Prompt]) -> None:
        self._unstarted[row] = None
        if row.item.request.options.logprobs is not None:
            self._logprobs[row] = []

    def _move(self, index: int, source: int) -> None:
        self._log.move(index, source)

    def _forget(self, row: Row[Prompt]) -> None:
        self._unstarted.pop(row, None)
        self._logprobs.pop(row, None)

    def _chunk_states(self) -> list[tuple[Prompt, int, NDArray[np.float32]]]:
        """See Window."""
        return []

    def _keep_logprobs(self, tokens: NDArray[np.int64], logits: NDArray[np.float32]) -> None:
        """Note the log-probabilities of what was chosen; fed tokens have none."""
        num_steps = len(tokens)
        counts: list[int] = []  # of the rows' new tokens
        num_top: list[int] = []
        steps: list[int] = []
        indices: list[int] = []
        for row in self._logprobs:
            num_new = max(0, min(self._log.num_new(row.index), num_steps))
            column = tokens[num_steps - num_new :, row.index]
            num_finite = int((column < 0).argmax()) if (column < 0).any() else num_new
            counts.append(num_finite)
            num_top.append(row.item.request.options.logprobs or 0)
            steps += range(num_steps - num_new, num_steps - num_new + num_finite)
            indices += [row.index] * num_finite
        if steps:
            found, start = token_logprobs(logits[steps, indices], tokens[steps, indices], max(num_top)), 0
            for kept, count, most in zip(self._logprobs.values(), counts, num_top, strict=True):
                if count:
                    kept.append(found.part(start, start + count, most))
                start += count


def continuation_of(row: Row[Prompt]) -> Continuation:
    """What the row generates."""
    return row.item.continuations[row.choice]


class DecodeBatch(GenerationBatch):
    """Rows whose tokens are chosen inside the graph `decode`.

    Args:
        runner: holds the states.
        initial_state: float32 [D], the state before the first token.
        end_id: the end token's id, or None.
    """

    def __init__(self, runner: DecodeRunner, initial_state: NDArray[np.float32], end_id: int | None) -> None:
        super().__init__(runner.capacity, end_id)
        self._runner = runner
        self._initial_state = initial_state
        self._names = runner.input_names
        self._feeding: dict[Row[Prompt], None] = {}  # rows whose prompts' tokens are being fed
        self._num_steps = 0  # of the last window
        capacity = runner.capacity
        self._token = np.zeros(capacity, np.int64)  # by index: the next input
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
        self._by_index: tuple[Array, ...] = (
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
            row: it was in the last window, and no row has moved to its index since.
            tokens: int64 [length], the row's prompt and answer, or the beginning of them.

        Returns:
            float32 [D]; None when the state lies before the last window.
        """
        num_steps = self._num_steps
        start = int(self._num_read[row.index]) - num_steps
        num_more = len(tokens) - 1 - start
        if num_more == num_steps:
            return self._runner.get(row.index)
        if num_more < 0:
            return None
        before = self._runner.previous(row.index)
        if not num_more:
            return before
        forced = np.zeros((num_more, 1), np.int64)
        forced[:-1, 0] = tokens[start + 1 : -1]
        inputs = self._inputs(slice(row.index, row.index + 1), num_more, forced)
        inputs["token"] = tokens[start : start + 1]
        return self._runner.replay(before, inputs)

    def _put(self, row: Row[Prompt]) -> None:
        super()._put(row)
        prompt, request, index = row.item, row.item.request, row.index
        position = len(prompt.tokens)
        (chosen,) = sampling_row(request.options, seed=request.seed, choice=row.choice, position=position)
        self._runner.put(index, self._initial_state if prompt.state is None else prompt.state)
        self._token[index] = prompt.tokens[prompt.num_read]
        self._num_read[index] = prompt.num_read
        self._key[index] = chosen["key"]
        self._end_from[index] = chosen["end_from"]
        self._temperature[index] = chosen["temperature"]
        self._is_filtered[index] = chosen["kind"] == FILTERED
        for name, values in self._filters.items():
            values[index] = chosen[name]
        num_fed = prompt.num_prefill - prompt.num_read
        if num_fed:
            self._feeding[row] = None
        self._log.reset(index, num_fed)
        self.set_due(row)

    def _move(self, index: int, source: int) -> None:
        super()._move(index, source)
        self._runner.move(index, source)
        for values in self._by_index:
            values[index] = values[source]

    def _forget(self, row: Row[Prompt]) -> None:
        super()._forget(row)
        self._feeding.pop(row, None)

    def _decode(self, num_steps: int) -> tuple[NDArray[np.int64], NDArray[np.float32] | None]:
        num_rows = len(self.rows)
        forced = np.full((num_steps, num_rows), -1, np.int64)
        for row in self._feeding:
            start = int(self._num_read[row.index]) + 1
            tokens = row.item.tokens[start : start + num_steps]
            forced[: len(tokens), row.index] = tokens
        wanted = ("tokens", "logits") if self._logprobs else ("tokens",)
        tokens, *logits = self._runner.decode(num_rows, self._inputs(slice(num_rows), num_steps, forced), wanted)
        self._num_steps = num_steps
        last = tokens[-1]
        self._token[:num_rows] = last if not self._feeding else np.where(forced[-1] >= 0, forced[-1], last)
        self._num_read[:num_rows] += num_steps
        return tokens, logits[0] if logits else None

    def _inputs(self, rows: slice, num_steps: int, forced: NDArray[np.int64]) -> dict[str, Array]:
        """The inputs of a window for the rows of some indices."""
        positions = self._num_read[rows] + 1
        inputs: dict[str, Array] = {
            "token": self._token[rows],
            "forced": forced,
            "uniforms": uniforms(self._key[rows], positions, num_steps),
            "temperature": self._temperature[rows],
        }
        if self._is_filtered[rows].any():
            inputs |= {name: values[rows] for name, values in self._filters.items()}
        if "can_end" in self._names:
            inputs["can_end"] = positions + np.arange(num_steps)[:, None] >= self._end_from[rows]
        return inputs

    def _chunk_states(self) -> list[tuple[Prompt, int, NDArray[np.float32]]]:
        """See Window; rows whose prompts are read are fed no more."""
        found = []
        for row in list(self._feeding):
            prompt, num_read = row.item, int(self._num_read[row.index])
            if num_read % CHUNK == 0 and num_read <= prompt.num_prefill:
                found.append((prompt, num_read, self._runner.get(row.index)))
            if num_read >= prompt.num_prefill:
                del self._feeding[row]
        return found


class StepBatch(GenerationBatch):
    """Rows whose tokens are chosen outside the graph; their prompts are prefilled but for the last token.

    Args:
        runner: holds the states; its capacity is at least twice the rows.
        chooser: runs the graph `choose`, made of the nodes that choose inside `decode`, so that what a row wants to
            know of its tokens never changes them; None where the set has none.
        initial_state: float32 [D], the state before the first token.
        vocab_size: V.
        end_id: the end token's id, or None.
    """

    def __init__(
        self,
        runner: StepRunner,
        chooser: SequenceRunner | None,
        initial_state: NDArray[np.float32],
        vocab_size: int,
        end_id: int | None,
    ) -> None:
        super().__init__(runner.capacity // 2, end_id)
        self._runner = runner
        self._chooser = chooser
        self._sampler = Sampler(end_id)
        self._initial_state = initial_state
        self._vocab_size = vocab_size
        capacity = runner.capacity // 2
        self._token = np.zeros(capacity, np.int64)  # by index: the next input
        self._in_place = np.arange(capacity)  # every row continues from its own index
        self._sampling = np.zeros(capacity, ROW)
        self._choose_inputs = ["temperature", "min_p"]
        if vocab_size <= MAX_VOCAB_FILTERED_IN_GRAPH:
            self._choose_inputs += ["top_k", "top_p"]
        self._is_sampled = np.zeros(capacity, np.bool_)  # chosen by the numpy sampler, not by `choose`
        self._penalty_rows: list[PenaltyRow | None] = [None] * capacity
        self._penalties: Penalties | None = None  # made anew when rows change
        self._given: dict[Row[Prompt], None] = {}  # rows whose first tokens are given

    def _put(self, row: Row[Prompt]) -> None:
        super()._put(row)
        prompt, request, index = row.item, row.item.request, row.index
        options, position = request.options, len(prompt.tokens)
        self._runner.put(index, self._initial_state if prompt.state is None else prompt.state)
        self._token[index] = prompt.tokens[-1]
        self._sampling[index] = sampling_row(options, seed=request.seed, choice=row.choice, position=position)[0]
        is_wide_filter = self._vocab_size > MAX_VOCAB_FILTERED_IN_GRAPH and (options.top_k > 0 or options.top_p < 1)
        self._is_sampled[index] = self._chooser is None or is_wide_filter
        self._penalty_rows[index] = penalty_row(options, prompt.tokens, self._vocab_size)
        self._penalties = None
        if prompt.given is not None:
            self._given[row] = None
        self._log.reset(index, 0)
        self.set_due(row)

    def _move(self, index: int, source: int) -> None:
        super()._move(index, source)
        self._runner.put(index, self._runner.get(source))
        for values in (self._token, self._sampling, self._is_sampled):
            values[index] = values[source]
        self._penalty_rows[index] = self._penalty_rows[source]

    def _forget(self, row: Row[Prompt]) -> None:
        super()._forget(row)
        self._given.pop(row, None)
        self._penalties = None

    def _decode(self, num_steps: int) -> tuple[NDArray[np.int64], NDArray[np.float32] | None]:
        num_rows = len(self.rows)
        if self._penalties is None:
            for index in range(num_rows, len(self._penalty_rows)):
                self._penalty_rows[index] = None  # of rows that have left
            self._penalties = Penalties(self._penalty_rows[:num_rows])
        chosen = np.empty((num_steps, num_rows), np.int64)
        seen: list[NDArray[np.float32]] = []
        for step in range(num_steps):
            logits = self._runner.step(self._token[:num_rows], self._in_place[:num_rows])
            chosen[step] = self._choose(self._penalties.applied(logits), num_rows)
            for row in self._given:
                self._take_given(row, chosen[step])
            if self._logprobs:
                seen.append(logits.copy())
            self._penalties.note(chosen[step])
            self._token[:num_rows] = chosen[step]
            self._sampling["position"][:num_rows] += 1
        return chosen, np.stack(seen) if seen else None

    def _take_given(self, row: Row[Prompt], chosen: NDArray[np.int64]) -> None:
        """Put a row's given token in the place of the chosen one, unless its logits are not finite."""
        assert row.item.given is not None
        place = int(self._sampling["position"][row.index]) - len(row.item.tokens)
        if place < len(row.item.given) and chosen[row.index] >= 0:
            chosen[row.index] = row.item.given[place]

    def _choose(self, logits: NDArray[np.float32], num_rows: int) -> NDArray[np.int64]:
        """The next tokens, int64 [n], NOT_FINITE where the logits are not finite."""
        sampling, is_sampled = self._sampling[:num_rows], self._is_sampled[:num_rows]
        if self._chooser is None or is_sampled.all():
            return self._sampler.choose(logits, sampling)
        tokens = np.empty(num_rows, np.int64)
        (inside,), (outside,) = np.nonzero(~is_sampled), np.nonzero(is_sampled)
        rows = sampling[inside]
        inputs: dict[str, Array] = {name: np.ascontiguousarray(rows[name]) for name in self._choose_inputs}
        (inputs["uniforms"],) = uniforms(rows["key"], rows["position"])
        if self._end_id is not None:
            inputs["can_end"] = rows["position"] >= rows["end_from"]
        tokens[inside] = self._chooser.run("choose", {"logits": logits[inside], **inputs})["tokens"]
        if len(outside):
            tokens[outside] = self._sampler.choose(np.ascontiguousarray(logits[outside]), sampling[outside])
        return tokens
