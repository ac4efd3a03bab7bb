"""The rows of a lane that translate: greedy ones by windows of the graph `decode`, all others step by step.

Which path a source takes depends on its own options alone (`runs_in_decode`).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.decoding.beam_search import BeamSearch, GreedySearch
from models.decoding.candidates import Candidates, top_candidates
from models.decoding.options import TranslationOptions
from models.decoding.sampler import Sampler, sampling_row
from runtime.runner import AttentionStepRunner, DecodeRunner
from server.engine.scheduler import Row
from server.engine.translation.request import Source

Handler = Callable[[Row[Source]], None]


def runs_in_decode(options: TranslationOptions) -> bool:
    """Whether a source's tokens are chosen inside the graph `decode`: greedy decoding."""
    return options.beam_size == 1 and options.sampling is None


class GreedyBatch:
    """Rows that take the likeliest token, several steps in one call.

    Args:
        runner: holds the states and memories.
        handle: called with each row after each window, in falling order of slots, so that it may remove the row.
        fail: called instead where the logits were not finite.
    """

    def __init__(self, runner: DecodeRunner, handle: Handler, fail: Handler) -> None:
        self.rows: list[Row[Source]] = []
        self.searches: dict[Row[Source], GreedySearch] = {}
        self._runner = runner
        self._handle = handle
        self._fail = fail
        self._token = np.zeros(runner.capacity, np.int64)

    def add(self, row: Row[Source]) -> None:
        """A row joins."""
        source = row.sequence.owner
        assert source.encoded is not None, "a row joins once its source is encoded"
        slot = row.slot = len(self.rows)
        self.rows.append(row)
        self._runner.put(slot, source.encoded.state, source.encoded.memory)
        source.encoded = None
        self._token[slot] = source.end_id
        self.searches[row] = GreedySearch(
            source.options,
            end_id=source.end_id,
            source_length=len(source.tokens),
            keep_attention=source.keeps_attention,
        )

    def remove(self, row: Row[Source]) -> None:
        """A row leaves; a no-op if it has left. The last row takes its slot."""
        slot = row.slot
        if slot < 0:
            return
        row.slot = -1
        del self.searches[row]
        last = self.rows.pop()
        if last is not row:
            self.rows[slot] = last
            last.slot = slot
            self._runner.move(slot, len(self.rows))
            self._token[slot] = self._token[len(self.rows)]

    def clear(self) -> None:
        """All rows leave: a call has failed."""
        while self.rows:
            self.remove(self.rows[-1])

    def num_wanted(self, most: int) -> int:
        """See RowBatch."""
        return min(most, max(search.max_tokens - search.num_tokens for search in self.searches.values()))

    def run(self, num_steps: int) -> None:
        """See RowBatch."""
        num_rows = len(self.rows)
        inputs = {"token": self._token[:num_rows], "forced": np.full((num_steps, num_rows), -1, np.int64)}
        wanted = ("tokens", "log_probability", "attention")
        tokens, log_probabilities, attention = self._runner.decode(num_rows, inputs, wanted)
        self._token[:num_rows] = tokens[-1]
        columns, log_columns = tokens.T.tolist(), log_probabilities.T.tolist()
        for row in reversed(self.rows.copy()):
            if row.slot < 0:
                continue
            slot = row.slot
            column = columns[slot]
            is_broken = min(column) < 0
            if is_broken:
                column = column[: [token < 0 for token in column].index(True)]
            search = self.searches[row]
            row.sequence.owner.times.note_first_token()
            search.extend(column, log_columns[slot], attention[:, slot])
            if is_broken and not search.is_over:
                self._fail(row)
            else:
                self._handle(row)


class BeamBatch:
    """Searches whose rows are stepped together; a search has as many rows as live hypotheses.

    Args:
        runner: holds the states and memories; its capacity is at least twice the rows stepped together.
        handle: called with each search after each step; it may remove it.
        fail: called instead where the logits were not finite.
    """

    def __init__(self, runner: AttentionStepRunner, handle: Handler, fail: Handler) -> None:
        self.rows: list[Row[Source]] = []
        self.searches: dict[Row[Source], BeamSearch] = {}
        self._runner = runner
        self._handle = handle
        self._fail = fail
        self._sampler = Sampler(None)
        self._parents: dict[Row[Source], NDArray[np.int64]] = {}  # the slots that each search's rows continue from
        self._sampling: dict[Row[Source], NDArray[np.void]] = {}  # of searches whose tokens are sampled, dtype ROW [1]
        self._num_used = 0  # slots of the last step: those from here on are free

    def add(self, row: Row[Source]) -> None:
        """A search joins; its source is put into the runner by its first step."""
        source = row.sequence.owner
        row.slot = 0
        self.rows.append(row)
        self.searches[row] = BeamSearch(
            source.options,
            end_id=source.end_id,
            source_length=len(source.tokens),
            keep_attention=source.keeps_attention,
        )
        sampled = source.options.sampling
        if sampled is not None:
            # The same numbers for every source, so that a text among others is translated as it is alone.
            self._sampling[row] = sampling_row(sampled, seed=source.seed, choice=0, position=0)

    def remove(self, row: Row[Source]) -> None:
        """A search leaves; a no-op if it has left."""
        if row.slot < 0:
            return
        row.slot = -1
        self.rows.remove(row)
        del self.searches[row]
        self._parents.pop(row, None)
        self._sampling.pop(row, None)

    def clear(self) -> None:
        """All searches leave: a call has failed."""
        while self.rows:
            self.remove(self.rows[-1])
        self._num_used = 0  # sources that were put for a step that failed would keep their slots

    def num_wanted(self, most: int) -> int:
        """See RowBatch."""
        return min(most, max(search.max_tokens - search.num_tokens for search in self.searches.values()))

    def run(self, num_steps: int) -> None:
        """See RowBatch."""
        for _ in range(num_steps):
            if not self.rows:
                return
            self._step()

    def _step(self) -> None:
        """Feed every search its next tokens."""
        rows = self.rows.copy()
        searches = [self.searches[row] for row in rows]
        parents = self._all_parents(rows)
        counts = [len(slots) for slots in parents]
        logits = self._runner.step(np.concatenate([search.tokens for search in searches]), np.concatenate(parents))
        self._num_used = len(logits)
        candidates = top_candidates(logits, max(search.num_candidates for search in searches))
        is_finite = np.isfinite(candidates.log_probabilities[:, 0])
        starts = np.cumsum([0, *counts])
        candidates = self._sampled(candidates, logits, rows, starts)
        attention = self._runner.attention
        self._parents.clear()
        for row, search, start, count in zip(rows, searches, starts.tolist(), counts, strict=False):
            stop = start + count
            if row.slot < 0:  # its request has failed by another of its sources
                continue
            row.sequence.owner.times.note_first_token()
            if not is_finite[start:stop].all():
                self._fail(row)
                continue
            found = candidates.of_rows(start, stop, search.num_candidates)
            self._parents[row] = start + search.extend(found, attention[start:stop])
            self._handle(row)

    def _all_parents(self, rows: list[Row[Source]]) -> list[NDArray[np.int64]]:
        """The slots that each search's rows continue from; a new search's source is put into a free one."""
        parents = []
        for row in rows:
            slots = self._parents.get(row)
            if slots is None:
                source = row.sequence.owner
                assert source.encoded is not None, "a row joins once its source is encoded"
                self._runner.put(self._num_used, source.encoded.state, source.encoded.memory)
                source.encoded = None
                slots = np.array([self._num_used], np.int64)
                self._num_used += 1
            parents.append(slots)
        return parents

    def _sampled(
        self, candidates: Candidates, logits: NDArray[np.float32], rows: list[Row[Source]], starts: NDArray[np.int64]
    ) -> Candidates:
        """The candidates with the tokens of the searches that are sampled."""
        which = [i for i, row in enumerate(rows) if row in self._sampling]
        if not which:
            return candidates
        table = np.concatenate([self._sampling[rows[i]] for i in which])
        table["position"] += [self.searches[rows[i]].num_tokens for i in which]
        at = starts[which]  # one row each
        return candidates.with_chosen(at, self._sampler.choose(np.ascontiguousarray(logits[at]), table), logits)
