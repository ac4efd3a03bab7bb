"""The rows of all searches that step together, in the order of the searches. Knows the runner's slots and parents."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.candidates import Candidates, top_candidates
from models.decoding.sampler import Sampler
from models.decoding.sampling_rows import SamplingRows
from runtime.runner import AttentionStepRunner
from server.engine.translation.request import Source


class Rows(NamedTuple):
    """What a step gave one search.

    Attributes:
        candidates: of each of its rows.
        attention: float32 [k, S].
        is_finite: whether the model's numbers are; otherwise the others mean nothing.
    """

    candidates: Candidates
    attention: NDArray[np.float32]
    is_finite: bool


class Batch:
    """Steps searches and keeps where their rows are.

    Args:
        runner: holds the states; its capacity is at least twice the rows stepped together.
    """

    def __init__(self, runner: AttentionStepRunner) -> None:
        self._runner = runner
        self._sampler = Sampler(None)
        self.clear()

    def clear(self) -> None:
        """Forget all rows: the next step has none that continues."""
        self._first: dict[Source, int] = {}  # the slot of each search's first row in the last step
        self._parents: dict[Source, NDArray[np.int64]] = {}  # the slots that each search's rows continue from
        self._num_rows = 0  # of the last step: the slots from here on are free

    def step(self, sources: list[Source]) -> list[Rows]:
        """Feed every search's next tokens; each must then be told with `moved` where its rows go on.

        Args:
            sources: the searches in their order; those that were not in the last step are encoded.

        Returns:
            What each search is given, in the same order; the arrays are valid until the next step.

        Raises:
            RunnerError: the runtime failed.
        """
        free = self._num_rows
        parents = []
        for source in sources:
            slots = self._parents.get(source)
            if slots is None:
                assert source.encoded is not None, "a search joins once its source is encoded"
                self._runner.put(free, source.encoded.state, source.encoded.memory)
                source.encoded = None
                slots = np.array([free], np.int64)
                free += 1
            parents.append(slots)
        counts = [len(slots) for slots in parents]
        logits = self._runner.step(
            np.concatenate([source.search.tokens for source in sources]), np.concatenate(parents)
        )
        self._num_rows = len(logits)
        candidates = top_candidates(logits, max(source.search.num_candidates for source in sources))
        is_finite = np.isfinite(candidates.log_probabilities[:, 0])
        candidates = self._drawn(candidates, logits, sources, counts)
        are_all_finite = bool(is_finite.all())
        attention = self._runner.attention
        self._parents.clear()
        self._first.clear()
        found = []
        start = 0
        for source, count in zip(sources, counts, strict=True):
            stop = start + count
            rows = Rows(
                candidates.of_rows(start, stop, source.search.num_candidates),
                attention[start:stop],
                are_all_finite or bool(is_finite[start:stop].all()),
            )
            found.append(rows)
            self._first[source] = start
            start = stop
        return found

    def _drawn(
        self, candidates: Candidates, logits: NDArray[np.float32], sources: list[Source], counts: list[int]
    ) -> Candidates:
        """The candidates with what the searches that draw their tokens have drawn."""
        drawing = [(i, source.sampling) for i, source in enumerate(sources) if source.sampling is not None]
        if not drawing:
            return candidates
        table = np.concatenate([row for _, row in drawing])
        table["position"] += [sources[i].search.num_tokens for i, _ in drawing]
        rows = np.cumsum([0, *counts])[[i for i, _ in drawing]]  # one row each
        tokens = self._sampler.choose(np.ascontiguousarray(logits[rows]), SamplingRows(table, num_ahead=1))
        return candidates.with_chosen(rows, tokens, logits)

    def moved(self, source: Source, parents: NDArray[np.int64]) -> None:
        """Where a search's next rows continue from.

        Args:
            source: it was in the last step.
            parents: int64 [k'], rows of that search in that step; empty when it is over.
        """
        if len(parents):
            self._parents[source] = self._first[source] + parents
