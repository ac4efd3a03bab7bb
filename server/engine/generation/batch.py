"""The rows that step together, as arrays in the order of the last step. Knows the StepRunner's slots and parents."""

import numpy as np
from numpy.typing import NDArray

from export.backends.runner import StepRunner
from models.decoding.sampler import Sampler
from models.decoding.sampling_rows import ROW, SamplingRows, sampling_row
from server.engine.generation.request import Prompt
from server.engine.generation.scheduler import Row, Step


class Batch:
    """Steps rows and keeps what they need between steps.

    Args:
        runner: holds the states; its capacity is at least twice the rows stepped together.
        sampler: chooses the tokens.
        initial_state: float32 [D], the state before the first token.
    """

    def __init__(self, runner: StepRunner, sampler: Sampler, initial_state: NDArray[np.float32]) -> None:
        self._runner = runner
        self._sampler = sampler
        self._initial_state = initial_state
        self.clear()

    def clear(self) -> None:
        """Forget all rows: the next step has none that continues."""
        self._tokens = np.zeros(0, np.int64)  # int64 [n], each row's next input
        self._parents = np.zeros(0, np.int64)  # int64 [n], the slot that each row continues from
        self._sampling = SamplingRows(np.zeros(0, ROW))

    def step(self, step: Step[Prompt]) -> NDArray[np.int64]:
        """Give each row one token.

        Returns:
            int64 [n], the tokens chosen, or models.decoding.sampler.NOT_FINITE.

        Raises:
            RunnerError: the runtime failed.
        """
        if step.is_rearranged:
            self._rearrange(step)
        logits = self._runner.step(self._tokens, self._parents)
        self._tokens = self._sampler.choose(logits, self._sampling)
        self._sampling.advance()
        if step.is_rearranged:
            self._parents = np.arange(len(self._tokens))
        return self._tokens

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
            if row.sequence.num_joined == row.sequence.num_rows:
                prompt.state = None
        self._tokens = np.concatenate(
            [self._tokens[staying], np.array([row.sequence.owner.tokens[-1] for row in joining], np.int64)]
        )
        self._parents = np.concatenate(
            [staying, np.array([slots[id(row.sequence.owner)] for row in joining], np.int64)]
        )
        self._sampling = self._sampling.rearranged(staying, [_sampling_of(row) for row in joining])


def _sampling_of(row: Row[Prompt]) -> NDArray[np.void]:
    prompt = row.sequence.owner
    generation = prompt.generation
    return sampling_row(generation.options, seed=generation.seed, choice=row.choice, position=len(prompt.tokens))
