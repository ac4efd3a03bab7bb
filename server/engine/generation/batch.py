"""The rows that step together, as arrays in the order of the last step. Knows the StepRunner's slots and parents."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from export.backends.runner import StepRunner
from models.decoding.logprobs import TokenLogprob, token_logprobs
from models.decoding.penalties import Penalties, PenaltyRow, penalty_row
from models.decoding.sampler import Sampler
from models.decoding.sampling_rows import ROW, SamplingRows, sampling_row
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
        self._tokens = np.zeros(0, np.int64)  # int64 [n], each row's next input
        self._parents = np.zeros(0, np.int64)  # int64 [n], the slot that each row continues from
        self._sampling = SamplingRows(np.zeros(0, ROW))
        self._penalties = Penalties([])
        self._num_top: dict[int, int] = {}  # of the rows that want logprobs

    def step(self, step: Step[Prompt]) -> Chosen:
        """Give each row one token.

        Raises:
            RunnerError: the runtime failed.
        """
        if step.is_rearranged:
            self._rearrange(step)
        logits = self._runner.step(self._tokens, self._parents)
        self._tokens = self._sampler.choose(self._penalties.applied(logits), self._sampling)
        self._sampling.advance()
        self._penalties.note(self._tokens)
        if step.is_rearranged:
            self._parents = np.arange(len(self._tokens))
        return Chosen(self._tokens, self._logprobs(logits) if self._num_top else {})

    def state(self, place: int) -> NDArray[np.float32]:
        """A copy of a row's state, float32 [D]: it has read all of the row's tokens but the one chosen last.

        Args:
            place: the row's index in the last step.
        """
        return self._runner.get(place)

    def _logprobs(self, logits: NDArray[np.float32]) -> dict[int, TokenLogprob]:
        rows = [row for row in self._num_top if self._tokens[row] >= 0]
        found = token_logprobs(logits[rows], self._tokens[rows], [self._num_top[row] for row in rows])
        return dict(zip(rows, found, strict=True))

    def _rearrange(self, step: Step[Prompt]) -> None:
        """Bring the arrays into the step's order, and put the states of rows that join into free slots."""
        staying = np.array([source for source in step.sources if source is not None], np.int64)
        joining = step.rows[len(staying) :]
        slots: dict[int, int] = {}
        free = len(self._tokens)  # the slots that the last step did not fill
        for row in joining:
            prompt = row.sequence.owner
            if id(prompt) not in slots:
                slots[id(prompt)] = free + len(slots)
                self._runner.put(slots[id(prompt)], self._initial_state if prompt.state is None else prompt.state)
            if row.sequence.num_joined == row.sequence.num_rows and not prompt.keeps_state:
                prompt.state = None
        self._tokens = np.concatenate(
            [self._tokens[staying], np.array([row.sequence.owner.tokens[-1] for row in joining], np.int64)]
        )
        self._parents = np.concatenate(
            [staying, np.array([slots[id(row.sequence.owner)] for row in joining], np.int64)]
        )
        self._sampling = self._sampling.rearranged(staying, [_sampling_of(row) for row in joining])
        kept = [self._penalties.rows[i] for i in staying.tolist()] if self._penalties.rows else [None] * len(staying)
        penalised = kept + [self._penalty_of(row) for row in joining]
        self._penalties = Penalties(penalised if any(penalised) else [])
        wanted = ((i, row.sequence.owner.generation.options.logprobs) for i, row in enumerate(step.rows))
        self._num_top = {i: num_top for i, num_top in wanted if num_top is not None}

    def _penalty_of(self, row: Row[Prompt]) -> PenaltyRow | None:
        prompt = row.sequence.owner
        return penalty_row(prompt.generation.options, prompt.tokens, self._vocab_size)


def _sampling_of(row: Row[Prompt]) -> NDArray[np.void]:
    prompt = row.sequence.owner
    generation = prompt.generation
    return sampling_row(generation.options, seed=generation.seed, choice=row.choice, position=len(prompt.tokens))
