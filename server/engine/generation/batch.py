"""The rows that step together, as arrays by place. Knows the StepRunner's slots and parents.

A row's state lies in the slot of its place. A step changes few places, so what is kept of the others stays as it is.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.logprobs import TokenLogprob, token_logprobs
from models.decoding.penalties import Penalties, PenaltyRow, penalty_row
from models.decoding.sampler import Sampler
from models.decoding.sampling_rows import SamplingRows, sampling_row
from runtime.runner import StepRunner
from server.engine.generation.request import Prompt
from server.engine.generation.scheduler import Row, Step


class Chosen(NamedTuple):
    """What a step has chosen.

    Attributes:
        tokens: int64 [n], or models.decoding.sampler.NOT_FINITE.
        logprobs: by row, of the rows that want them.
    """

    tokens: NDArray[np.int64]
    logprobs: dict[int, TokenLogprob]


class Batch:
    """Steps rows and keeps what they need between steps.

    Args:
        runner: holds the states; its capacity is at least twice the rows stepped together.
        sampler: chooses the tokens.
        initial_state: float32 [D], the state before the first token.
        vocab_size: V.
    """

    def __init__(
        self, runner: StepRunner, sampler: Sampler, initial_state: NDArray[np.float32], vocab_size: int
    ) -> None:
        self._runner = runner
        self._sampler = sampler
        self._initial_state = initial_state
        self._vocab_size = vocab_size
        self.clear()

    def clear(self) -> None:
        """Forget all rows: the next step has none that continues."""
        capacity = self._runner.capacity
        self._num_rows = 0
        self._tokens = np.zeros(capacity, np.int64)  # by place, each row's next input
        self._parents = np.arange(capacity)  # by place, the slot that each row continues from
        self._sampling = SamplingRows.empty(capacity)
        self._penalties = Penalties([])
        self._penalty_rows: list[PenaltyRow | None] = []  # by place
        self._num_top: list[int | None] = []  # by place, None for rows that want no logprobs
        self._has_logprobs = False

    def step(self, step: Step[Prompt]) -> Chosen:
        """Give each row one token.

        Raises:
            RunnerError: the runtime failed; `clear` must follow.
        """
        num_rows = len(step.rows)
        if step.changes or num_rows != self._num_rows:
            self._rearrange(step)
        logits = self._runner.step(self._tokens[:num_rows], self._parents[:num_rows])
        for place, source in step.changes:
            if source is not None:
                self._parents[place] = place
        tokens = self._sampler.choose(self._penalties.applied(logits), self._sampling)
        self._sampling.advance()
        self._penalties.note(tokens)
        self._tokens[:num_rows] = tokens
        return Chosen(tokens, self._logprobs(logits, tokens) if self._has_logprobs else {})

    def state(self, place: int) -> NDArray[np.float32]:
        """A copy of a row's state, float32 [D]: it has read all of the row's tokens but the one chosen last.

        Args:
            place: the row's index in the last step.
        """
        return self._runner.get(place)

    def _logprobs(self, logits: NDArray[np.float32], tokens: NDArray[np.int64]) -> dict[int, TokenLogprob]:
        wanted = {i: num_top for i, num_top in enumerate(self._num_top) if num_top is not None and tokens[i] >= 0}
        rows = list(wanted)
        found = token_logprobs(logits[rows], tokens[rows], list(wanted.values()))
        return dict(zip(rows, found, strict=True))

    def _rearrange(self, step: Step[Prompt]) -> None:
        """Bring what is kept by place into the step's order, and the states of rows that join into their slots."""
        num_rows = len(step.rows)
        num_more = max(0, num_rows - self._num_rows)
        self._penalty_rows += [None] * num_more
        self._num_top += [None] * num_more
        had_penalties = any(self._penalty_rows)
        moves: list[tuple[int, int]] = []
        joining: list[tuple[int, NDArray[np.void]]] = []
        for place, source in step.changes:
            if source is not None:
                moves.append((place, source))
                self._parents[place] = source
                self._tokens[place] = self._tokens[source]
                self._penalty_rows[place] = self._penalty_rows[source]
                self._num_top[place] = self._num_top[source]
                continue
            row = step.rows[place]
            prompt = row.sequence.owner
            self._runner.put(place, self._initial_state if prompt.state is None else prompt.state)
            self._tokens[place] = prompt.tokens[-1]
            self._penalty_rows[place] = self._penalty_of(row)
            self._num_top[place] = prompt.generation.options.logprobs
            joining.append((place, _sampling_of(row)))
        for row in step.joining:
            if row.sequence.num_joined == row.sequence.num_rows and not row.sequence.owner.keeps_state:
                row.sequence.owner.state = None  # nobody needs it any more
        del self._penalty_rows[num_rows:], self._num_top[num_rows:]
        self._num_rows = num_rows
        self._sampling.rearrange(num_rows, moves, joining)
        if had_penalties or any(self._penalty_rows):
            self._penalties = Penalties(self._penalty_rows if any(self._penalty_rows) else [])
        self._has_logprobs = self._num_top.count(None) < num_rows

    def _penalty_of(self, row: Row[Prompt]) -> PenaltyRow | None:
        prompt = row.sequence.owner
        return penalty_row(prompt.generation.options, prompt.tokens, self._vocab_size)


def _sampling_of(row: Row[Prompt]) -> NDArray[np.void]:
    prompt = row.sequence.owner
    generation = prompt.generation
    return sampling_row(generation.options, seed=generation.seed, choice=row.choice, position=len(prompt.tokens))
