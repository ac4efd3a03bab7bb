"""The rows of a lane that translate: greedy ones by windows of the graph `decode`, beams by windows of `decode_beam`,
and those whose tokens are sampled step by step; so are all where the set has no such graphs.

Which path a source takes depends on its own options alone (`runs_in_decode`).
"""

from abc import abstractmethod
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.decoding.beam_search import BeamSearch, GreedySearch
from models.decoding.candidates import Candidates, top_candidates
from models.decoding.options import TranslationOptions
from models.decoding.sampler import Sampler, sampling_row
from runtime.runner import AttentionStepRunner, DecodeRunner
from server.engine.lane import Batch
from server.engine.scheduler import Row
from server.engine.translation.request import Source

Search = TypeVar("Search", GreedySearch, BeamSearch)


def runs_in_decode(options: TranslationOptions) -> bool:
    """Whether a source's tokens are chosen inside the graph `decode`: greedy decoding."""
    return options.beam_size == 1 and options.sampling is None


def runs_in_decode_beam(options: TranslationOptions) -> bool:
    """Whether a source's hypotheses are ranked inside the graph `decode_beam`."""
    return options.beam_size > 1


class Window(NamedTuple):
    """What came of a window.

    Attributes:
        num_steps: steps made: fewer than asked for when all searches were over before.
        broken: rows whose logits were not finite before their search was over.
    """

    num_steps: int
    broken: list[Row[Source]]


def arranged(before: list[list[int]], counts: list[int]) -> list[list[int]]:
    """The slots that searches' rows take in the next step, all from 0 to their sum without gaps.

    A search keeps as many of its slots as it can: a slot's memory is written anew when another search takes it.

    Args:
        before: the slots of each search in the last step.
        counts: how many rows each has now.
    """
    num_rows = sum(counts)
    kept = [[slot for slot in slots if slot < num_rows][:count] for slots, count in zip(before, counts, strict=True)]
    free = iter(sorted(set(range(num_rows)).difference(*kept)))
    return [[*slots, *islice(free, count - len(slots))] for slots, count in zip(kept, counts, strict=True)]


class TranslationBatch(Batch[Source], Generic[Search]):
    """What both paths share: a search for each row.

    Args:
        kind: of the searches.

    Attributes:
        searches: by row.
    """

    def __init__(self, kind: type[Search]) -> None:
        super().__init__()
        self._kind: type[Search] = kind
        self.searches: dict[Row[Source], Search] = {}

    @abstractmethod
    def run(self, num_steps: int) -> Window:
        """Extend each search by a window.

        Raises:
            RunnerError: the runtime failed.
        """

    def num_wanted(self, most: int) -> int:
        """See Batch."""
        return min(most, max(search.max_tokens - search.num_tokens for search in self.searches.values()))

    def _put(self, row: Row[Source]) -> None:
        source = row.item
        self.searches[row] = self._kind(
            source.request.options,
            end_id=source.end_id,
            source_length=len(source.tokens),
            keep_attention=source.request.keeps_attention,
            max_tokens=source.max_tokens,
        )

    def _forget(self, row: Row[Source]) -> None:
        del self.searches[row]


class GreedyBatch(TranslationBatch[GreedySearch]):
    """Rows that take the likeliest token, several steps in one call.

    Args:
        runner: holds the states and memories.
    """

    def __init__(self, runner: DecodeRunner) -> None:
        super().__init__(GreedySearch)
        self._runner = runner
        self._token = np.zeros(runner.capacity, np.int64)

    def run(self, num_steps: int) -> Window:
        """See TranslationBatch."""
        num_rows = len(self.rows)
        inputs = {"token": self._token[:num_rows], "forced": np.full((num_steps, num_rows), -1, np.int64)}
        wanted = ("tokens", "log_probability", "attention")
        tokens, log_probabilities, attention = self._runner.decode(num_rows, inputs, wanted)
        self._token[:num_rows] = tokens[-1]
        columns, log_columns = tokens.T.tolist(), log_probabilities.T.tolist()
        broken = []
        for index, row in enumerate(self.rows):
            column = columns[index]
            is_broken = min(column) < 0
            if is_broken:
                column = column[: [token < 0 for token in column].index(True)]
            search = self.searches[row]
            search.extend(column, log_columns[index], attention[:, index])
            if is_broken and not search.is_over:
                broken.append(row)
        return Window(num_steps, broken)

    def _put(self, row: Row[Source]) -> None:
        super()._put(row)
        encoded = row.item.take_encoded()
        self._runner.put(row.index, encoded.state, encoded.memory)
        self._token[row.index] = row.item.end_id

    def _move(self, index: int, source: int) -> None:
        self._runner.move(index, source)
        self._token[index] = self._token[source]


class BeamBatch(TranslationBatch[BeamSearch]):
    """Searches of one beam size, several steps in one call; a search has a slot, and the slot as many rows as the beam.

    Args:
        runner: holds the states and memories.
        beam_size: of all searches.
    """

    def __init__(self, runner: DecodeRunner, beam_size: int) -> None:
        super().__init__(BeamSearch)
        self._runner = runner
        self._tokens = np.zeros((runner.capacity, beam_size), np.int64)
        self._log_p = np.zeros((runner.capacity, beam_size))

    def run(self, num_steps: int) -> Window:
        """See TranslationBatch."""
        num_searches = len(self.rows)
        inputs = {
            "token": self._tokens[:num_searches],
            "log_p": self._log_p[:num_searches],
            "steps": np.zeros(num_steps, np.int64),
        }
        searches = [self.searches[row] for row in self.rows]
        needs_attention = any(search.needs_attention for search in searches)
        wanted = ["parents", "tokens", "log_probability", "is_broken", *(["attention"] if needs_attention else [])]
        parents, tokens, log_p, is_broken, *attention = self._runner.decode(num_searches, inputs, wanted)
        ranked = [values.transpose(1, 0, 2).tolist() for values in (parents, tokens, log_p)]
        is_any_broken = is_broken.any()
        broken = []
        for index, (row, search) in enumerate(zip(self.rows, searches, strict=True)):
            for step, continuations in enumerate(zip(*(values[index] for values in ranked), strict=True)):
                if is_any_broken and is_broken[step, index, : len(search.live)].any():
                    broken.append(row)
                    break
                rows, next_tokens, totals = continuations
                search.follow(rows, next_tokens, totals, attention[0][step, index] if attention else None)
                if search.is_over:
                    break
            self._set_live(index, search.live)
        return Window(num_steps, broken)

    def _put(self, row: Row[Source]) -> None:
        super()._put(row)
        encoded = row.item.take_encoded()
        self._runner.put(row.index, encoded.state, encoded.memory)
        self._set_live(row.index, self.searches[row].live)

    def _move(self, index: int, source: int) -> None:
        self._runner.move(index, source)
        self._tokens[index] = self._tokens[source]
        self._log_p[index] = self._log_p[source]

    def _set_live(self, index: int, live: list[tuple[int, float]]) -> None:
        """The rows that the next window goes on with; log p of -infinity keeps the others out of it."""
        self._tokens[index], self._log_p[index] = 0, -np.inf
        for row, (token, log_p) in enumerate(live):
            self._tokens[index, row], self._log_p[index, row] = token, log_p


class StepBatch(TranslationBatch[BeamSearch]):
    """Searches whose hypotheses are stepped together; a search has as many of the runner's slots as live hypotheses.

    Args:
        runner: holds the states and memories; its capacity is at least twice the hypotheses stepped together.
    """

    def __init__(self, runner: AttentionStepRunner) -> None:
        super().__init__(BeamSearch)
        self._runner = runner
        self._sampler = Sampler(None)
        self._parents: dict[Row[Source], NDArray[np.int64]] = {}  # the slots that each search's rows continue from
        self._slots: dict[Row[Source], list[int]] = {}  # the slots of each search's rows in the last step
        self._sampling: dict[Row[Source], NDArray[np.void]] = {}  # of searches whose tokens are sampled, dtype ROW [1]
        self._num_used = 0  # slots of the last step: those from here on are free

    def clear(self) -> None:
        """See Batch."""
        super().clear()
        self._num_used = 0

    def run(self, num_steps: int) -> Window:
        """See TranslationBatch."""
        for num_made in range(1, num_steps + 1):
            broken = self._step(self.rows)
            if len(self._parents) < len(self.rows):  # a search is over: a later call must not fail it
                return Window(num_made, broken)
        return Window(num_steps, [])

    def _put(self, row: Row[Source]) -> None:
        """Its source is put into the runner by its first step."""
        super()._put(row)
        request = row.item.request
        if request.options.sampling is not None:
            # The same numbers for every source, so that a text among others is translated as it is alone.
            self._sampling[row] = sampling_row(request.options.sampling, seed=request.seed, choice=0, position=0)

    def _move(self, index: int, source: int) -> None:
        """Searches keep their slots."""

    def _forget(self, row: Row[Source]) -> None:
        super()._forget(row)
        self._parents.pop(row, None)
        self._slots.pop(row, None)
        self._sampling.pop(row, None)

    def _step(self, rows: list[Row[Source]]) -> list[Row[Source]]:
        """Feed all searches their next tokens; those whose logits are not finite."""
        searches = [self.searches[row] for row in rows]
        parents = self._all_parents(rows)
        slots = arranged([self._slots[row] for row in rows], [len(search.tokens) for search in searches])
        order = np.empty(sum(map(len, slots)), np.int64)
        order[np.concatenate(slots)] = np.arange(len(order))
        tokens = np.concatenate([search.tokens for search in searches])[order]
        logits = self._runner.step(tokens, np.concatenate(parents)[order])
        self._num_used = len(logits)
        candidates = top_candidates(logits, max(search.num_candidates for search in searches))
        is_finite = np.isfinite(candidates.log_probabilities[:, 0]).tolist()
        candidates = self._sampled(candidates, logits, rows, slots)
        attention = self._runner.attention
        self._parents.clear()
        broken = []
        for row, search, mine in zip(rows, searches, slots, strict=True):
            if not all(is_finite[slot] for slot in mine):
                broken.append(row)
                continue
            index = np.array(mine)
            chosen = search.extend(candidates.of_rows(index, search.num_candidates), attention[index])
            if not search.is_over:
                self._parents[row] = index[chosen]
                self._slots[row] = mine
        return broken

    def _all_parents(self, rows: list[Row[Source]]) -> list[NDArray[np.int64]]:
        """The slots that each search's rows continue from; a new search's source is put into a free one."""
        parents = []
        for row in rows:
            slots = self._parents.get(row)
            if slots is None:
                encoded = row.item.take_encoded()
                self._runner.put(self._num_used, encoded.state, encoded.memory)
                slots = np.array([self._num_used], np.int64)
                self._slots[row] = [self._num_used]
                self._num_used += 1
            parents.append(slots)
        return parents

    def _sampled(
        self, candidates: Candidates, logits: NDArray[np.float32], rows: list[Row[Source]], slots: list[list[int]]
    ) -> Candidates:
        """The candidates with the tokens of the searches that are sampled."""
        which = [i for i, row in enumerate(rows) if row in self._sampling]
        if not which:
            return candidates
        table = np.concatenate([self._sampling[rows[i]] for i in which])
        table["position"] += [self.searches[rows[i]].num_tokens for i in which]
        at = np.array([slots[i][0] for i in which])  # one row each
        return candidates.with_chosen(at, self._sampler.choose(np.ascontiguousarray(logits[at]), table), logits)
