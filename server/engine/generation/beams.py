"""The beam searches of a lane that generates text: hypotheses of all searches are stepped together by the graph `step`.

A search is one row of the scheduler, as wide as its beam (models.decoding.beam_search); its hypotheses lie one after
the other in the runner's first slots and continue from wherever their parents lay.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.beam_search import BeamSearch
from models.decoding.candidates import top_candidates
from models.decoding.options import TranslationOptions
from runtime.runner import StepRunner
from server.engine.generation.request import Prompt
from server.engine.lane import Batch
from server.engine.scheduler import Row

NO_END = -1  # where no token ends a text


class BeamWindow(NamedTuple):
    """What came of a window.

    Attributes:
        num_steps: steps made: fewer than asked for when a search was over before.
        over: rows whose search is over.
        broken: rows whose logits were not finite before.
    """

    num_steps: int
    over: list[Row[Prompt]]
    broken: list[Row[Prompt]]


class BeamBatch(Batch[Prompt]):
    """Searches of any beam sizes.

    Args:
        runner: holds the states; its capacity is at least twice the hypotheses stepped together.
        initial_state: float32 [D], the state before the first token.
        end_id: the end token's id, or None.

    Attributes:
        searches: by row.
    """

    def __init__(self, runner: StepRunner, initial_state: NDArray[np.float32], end_id: int | None) -> None:
        super().__init__()
        self._runner = runner
        self._initial_state = initial_state
        self._end_id = NO_END if end_id is None else end_id
        self._parents: dict[Row[Prompt], NDArray[np.int64]] = {}  # the slots that each search's rows continue from
        self._num_used = 0  # slots of the last step: those from here on are free
        self.searches: dict[Row[Prompt], BeamSearch] = {}

    def run(self, num_steps: int) -> BeamWindow:
        """Extend each search by a window, up to the first that is over.

        Raises:
            RunnerError: the runtime failed.
        """
        for row in self.rows:
            row.item.request.times.note_began()
        for num_made in range(1, num_steps + 1):
            broken = self._step()
            over = [row for row in self.rows if self.searches[row].is_over]
            if over or broken:
                return BeamWindow(num_made, over, broken)
        return BeamWindow(num_steps, [], [])

    def num_wanted(self, most: int) -> int:
        """See Batch."""
        return min(most, max(search.max_tokens - search.num_tokens for search in self.searches.values()))

    def clear(self) -> None:
        """See Batch."""
        super().clear()
        self._num_used = 0

    def _put(self, row: Row[Prompt]) -> None:
        """Its state is put into the runner by its first step."""
        prompt, beam = row.item, row.item.request.beam
        assert beam is not None, "its request is a search"
        options = TranslationOptions.model_construct(
            beam_size=prompt.width,
            alternatives=beam.num_wanted - 1,
            length_penalty=beam.length_penalty,
            max_tokens=prompt.request.options.max_tokens,
        )
        search = BeamSearch(options, end_id=self._end_id, source_length=1, keep_attention=False)
        search.live = [(int(prompt.tokens[-1]), 0.0)]
        self.searches[row] = search

    def _move(self, index: int, source: int) -> None:
        """Searches keep their slots."""

    def _forget(self, row: Row[Prompt]) -> None:
        del self.searches[row]
        self._parents.pop(row, None)

    def _step(self) -> list[Row[Prompt]]:
        """Feed all searches their next tokens; those whose logits are not finite."""
        searches = [self.searches[row] for row in self.rows]
        parents = [self._parents_of(row) for row in self.rows]
        logits = self._runner.step(np.concatenate([each.tokens for each in searches]), np.concatenate(parents))
        self._num_used = len(logits)
        logits = self._without_early_ends(logits, parents)
        candidates = top_candidates(logits, max(search.num_candidates for search in searches))
        is_finite = np.isfinite(candidates.log_probabilities[:, 0])
        self._parents.clear()
        broken, start = [], 0
        for row, search, own in zip(self.rows, searches, parents, strict=True):
            slots = np.arange(start, start + len(own))
            start += len(own)
            if not is_finite[slots].all():
                broken.append(row)
                continue
            found = candidates.of_rows(slots, search.num_candidates)
            chosen = search.extend(found, np.zeros((len(slots), 1), np.float32))
            row.item.request.times.note_first_token()
            self._parents[row] = slots[chosen]
        return broken

    def _without_early_ends(self, logits: NDArray[np.float32], parents: list[NDArray[np.int64]]) -> NDArray[np.float32]:
        """The logits with the end token excluded for searches that have fewer than min_tokens."""
        is_early = [self.searches[row].num_tokens < row.item.request.options.min_tokens for row in self.rows]
        if self._end_id == NO_END or not any(is_early):
            return logits
        logits = logits.copy()
        logits[np.repeat(is_early, [len(each) for each in parents]), self._end_id] = -np.inf
        return logits

    def _parents_of(self, row: Row[Prompt]) -> NDArray[np.int64]:
        """The slots that a search's rows continue from; a new one's state is put into a free one."""
        if row in self._parents:
            return self._parents[row]
        state = row.item.state
        self._runner.put(self._num_used, self._initial_state if state is None else state)
        self._num_used += 1
        return np.array([self._num_used - 1], np.int64)
