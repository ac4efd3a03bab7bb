"""Beam search over the translations of one source. Knows logits, attention weights and ids; no model, no threads.

What can come out: every sequence of fewer than max_tokens tokens that is closed by the end token (finish reason
"stop", its length counts the end token), and every sequence of exactly max_tokens tokens without it ("length"). All
compete by one number (Wu et al. 2016, section 7, equation 14):

    score = log p / ((5 + length)^a / 6^a) + b sum_i log(min(sum_j p_ij, 1))

where log p is the sum of the tokens' log probabilities (the end token's too), a is length_penalty, b is
coverage_penalty, and p_ij is the attention of target token j to source position i; j runs over the same tokens that
the length counts, i over all source positions, the end token's too. A position that nothing attends to counts as
1e-30, so that a score is finite.

How it is looked for: all continuations of all live hypotheses are ranked by log p; ties go to the lower row, then the
lower id. The beam_size best that do not end live on. Those that end are finished if they rank before the next best
that does not. A beam of 1 takes the likeliest continuation alone, greedy decoding (`GreedySearch`). The best
1 + alternatives finished ones are kept; ties go to the one that was finished first. Once as many are finished, a live
hypothesis is dropped when it can no longer beat the worst kept one: log p and coverage's part only make a score lower,
so nothing that comes of it scores above log p / ((5 + n)^a / 6^a), n the most tokens that it may have. When none lives
the search is over. After max_tokens tokens those that live are finished as they are.

Where a request names no max_tokens, n is the length that is usual (`usual_tokens_of`): once as many are finished the
search ends there, and only a search that has found fewer goes on to the most that the model may need. So room for long
translations costs short ones nothing.

A loop that knows nothing of this may go on with dropped hypotheses and be followed step by step all the same
(`BeamSearch.follow`). Live rows are in the order of log p, so those that are dropped are the last; the rows before them
keep their numbers. A continuation's log p is at most its hypothesis's, so what comes of a dropped one has log p too low
to beat the worst kept translation, as that one had, and ranks below every continuation that is not to be dropped. So it
takes the place of hopeless continuations alone: those of them that would have lived on would have been dropped in the
same step, and those that end would not have been kept.

So with a beam of at least 2 that holds all live prefixes of every length, the result is the best of all that can come
out; and a search ends early only when going on could not change the result.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.candidates import Candidates, top_candidates
from models.decoding.options import TranslationOptions

LEAST_COVERAGE = 1e-30


class Hypothesis(NamedTuple):
    """One finished translation.

    Attributes:
        ids: its tokens, without the end token.
        score: see the module; the higher the better, at most 0.
        finish_reason: "stop" when the end token was chosen, "length" when max_tokens were reached before.
        attention: float32 [length, source_length], of each target token (the end token's row last, if there is one);
            [0, source_length] when the search keeps none.
    """

    ids: list[int]
    score: float
    finish_reason: Literal["stop", "length"]
    attention: NDArray[np.float32]


class _Node(NamedTuple):
    """A token of a live or finished hypothesis and what came before it; shared by all that begin alike."""

    token: int
    attention: NDArray[np.float32] | None
    before: "_Node | None"


class _Finished(NamedTuple):
    score: float
    last: _Node | None
    is_ended: bool


def usual_tokens_of(source_length: int) -> int:
    """A length, in tokens, that few translations go beyond; of a source of so many tokens, its end token counted."""
    return 2 * source_length + 20


def max_tokens_of(options: TranslationOptions, source_length: int, longest: int | None = None) -> int:
    """The most tokens that a translation may have, the end token counted.

    Args:
        options: those of the request; their max_tokens counts, where they have it.
        source_length: tokens of the source, its end token counted.
        longest: tokens of the longest translation that the model was trained and validated on, its end token counted;
            None where that is not known, and four times the source and 100 more, up to 1024, are allowed.
    """
    if options.max_tokens is not None:
        return options.max_tokens
    if longest is None:
        longest = min(1024, 4 * source_length + 100)
    return max(usual_tokens_of(source_length), longest)


def score_of(
    log_probability: float, length: int, options: TranslationOptions, coverage: NDArray[np.float64] | None = None
) -> float:
    """The score of a finished hypothesis (Wu et al. 2016, equation 14; see the module).

    Args:
        log_probability: sum of its tokens' log probabilities, the end token's too if it has one.
        length: how many tokens those are, at least 1.
        options: the two penalties.
        coverage: float64 [source_length], attention summed over the target tokens; needed for a coverage penalty.
    """
    score: float = log_probability / ((5 + length) / 6) ** options.length_penalty
    if options.coverage_penalty and coverage is not None:
        covered = np.log(np.clip(coverage, LEAST_COVERAGE, 1.0))
        score += options.coverage_penalty * float(np.add.reduce(covered))
    return score


class BeamSearch:
    """The search for one source.

    Whoever drives it feeds `tokens` to the model, one row each, and hands it what came of them; the next rows continue
    from those that `advance` returns. It begins with one row and has beam_size at most.

    Args:
        options: beam and penalties.
        end_id: the end token's id, which is also the first input.
        source_length: tokens of the source, its end token counted, at least 1.
        keep_attention: whether hypotheses carry their attention.
        max_tokens: by default `max_tokens_of` the other two.

    Attributes:
        live: token and log p of each live row, the best first; empty when the search is over.
        num_tokens: tokens chosen so far in each live row.
        max_tokens: the most that a translation may have.
    """

    def __init__(
        self,
        options: TranslationOptions,
        *,
        end_id: int,
        source_length: int,
        keep_attention: bool = True,
        max_tokens: int | None = None,
    ) -> None:
        self._options = options
        self._end_id = end_id
        self._source_length = source_length
        self._keep_attention = keep_attention
        self._num_wanted = 1 + options.alternatives
        self.max_tokens = max_tokens or max_tokens_of(options, source_length)
        self._usual_tokens = self.max_tokens
        if options.max_tokens is None:
            self._usual_tokens = min(self.max_tokens, usual_tokens_of(source_length))
        self._last: list[_Node | None] = [None]  # by live row
        self._coverage = np.zeros((1, source_length)) if options.coverage_penalty else None  # float64 [k, S]
        self._finished: list[_Finished] = []  # best first
        self._num_taken = 0
        self.live = [(end_id, 0.0)]
        self.num_tokens = 0

    @property
    def tokens(self) -> NDArray[np.int64]:
        """int64 [k], each live row's next input."""
        return np.array([token for token, _ in self.live], np.int64)

    @property
    def num_candidates(self) -> int:
        """How many of each row's likeliest tokens the search looks at."""
        beam_size = self._options.beam_size
        return 1 if beam_size == 1 else beam_size + 1

    @property
    def needs_attention(self) -> bool:
        """Whether the penalty or the results need the attention."""
        return self._keep_attention or self._coverage is not None

    @property
    def is_over(self) -> bool:
        """Whether no row is live."""
        return not self.live

    def advance(self, logits: NDArray[np.float32], attention: NDArray[np.float32]) -> NDArray[np.int64]:
        """Take what the model made of `tokens`.

        Args:
            logits: float32 [k, V], finite (-infinity excludes a token).
            attention: float32 [k, S], S >= source_length; what is past it is not looked at.

        Returns:
            int64 [k'], for each new live row the row that it continues from; empty when the search is over.
        """
        return self.extend(top_candidates(np.ascontiguousarray(logits), self.num_candidates), attention)

    def extend(self, candidates: Candidates, attention: NDArray[np.float32]) -> NDArray[np.int64]:
        """`advance`, when the candidates of many searches' rows were found together.

        Args:
            candidates: of each live row, num_candidates or the whole vocabulary.
            attention: as for `advance`.

        Returns:
            As `advance`.
        """
        before = np.array([log_p for _, log_p in self.live])
        totals = before[:, None] + candidates.log_probabilities
        log_p, ids, width = totals.ravel().tolist(), candidates.ids.ravel().tolist(), totals.shape[1]
        ranked = sorted(range(len(log_p)), key=log_p.__getitem__, reverse=True)  # of equal ones the first is first
        rows, tokens = [place // width for place in ranked], [ids[place] for place in ranked]
        return np.array(self.follow(rows, tokens, [log_p[place] for place in ranked], attention), np.int64)

    def follow(
        self, rows: list[int], tokens: list[int], log_p: list[float], attention: NDArray[np.float32] | None
    ) -> list[int]:
        """`advance`, when the continuations were ranked elsewhere, by a loop that goes on with rows dropped here too.

        Args:
            rows: which live row each continues, the best continuation first, at least the 2 beam_size best; those of
                rows that are not live are ignored.
            tokens: the next token of each.
            log_p: of all tokens of each.
            attention: float32 [rows, S], as for `advance`; None where neither the results nor the penalty need it.

        Returns:
            As `advance`.
        """
        self.num_tokens += 1
        num_live = len(self.live)
        parents: list[int] = []
        chosen: list[tuple[int, float]] = []
        for row, token, total in zip(rows, tokens, log_p, strict=True):
            if total == -math.inf:
                break
            if row >= num_live:
                continue
            if token == self._end_id:
                self._finish(_Node(token, self._row_of(attention, row), self._last[row]), total, row, attention)
            elif len(parents) == self._options.beam_size:
                break
            else:
                parents.append(row)
                chosen.append((token, total))
        return self._live_on(parents, chosen, attention)

    def take(self) -> tuple[list[int], NDArray[np.float32] | None]:
        """With a beam of 1: what GreedySearch.take gives."""
        node, num_new = self._last[0] if self._last else self._finished[0].last, self.num_tokens - self._num_taken
        if node is not None and node.token == self._end_id:
            node, num_new = node.before, num_new - 1
        nodes: list[_Node] = []
        while node is not None and len(nodes) < num_new:
            nodes.append(node)
            node = node.before
        nodes.reverse()
        self._num_taken += num_new
        return [node.token for node in nodes], self._attention_of(nodes) if self._keep_attention else None

    def results(self) -> list[Hypothesis]:
        """The 1 + alternatives best that are finished, best first; fewer when fewer were found."""
        return [self._hypothesis(finished) for finished in self._finished]

    def _live_on(
        self, parents: list[int], chosen: list[tuple[int, float]], attention: NDArray[np.float32] | None
    ) -> list[int]:
        """Make the chosen continuations the live rows, or finish them where they may not grow."""
        nodes = [
            _Node(token, self._row_of(attention, row), self._last[row])
            for row, (token, _) in zip(parents, chosen, strict=True)
        ]
        if self.num_tokens == self.max_tokens:
            for row, node, (_, log_p) in zip(parents, nodes, chosen, strict=True):
                self._finish(node, log_p, row, attention)
            parents, nodes, chosen = [], [], []
        if len(self._finished) == self._num_wanted:
            worst, most = self._finished[-1].score, ((5 + self._usual_tokens) / 6) ** self._options.length_penalty
            num_hopeful = sum(log_p / most > worst for _, log_p in chosen)  # log p falls along the rows
            if self.num_tokens >= self._usual_tokens:
                num_hopeful = 0
            parents, nodes, chosen = parents[:num_hopeful], nodes[:num_hopeful], chosen[:num_hopeful]
        self._last = list(nodes)
        self.live = chosen
        if self._coverage is not None:
            self._coverage = self._covered_by(attention, parents)
        return parents

    def _finish(self, last: _Node, log_p: float, row: int, attention: NDArray[np.float32] | None) -> None:
        """Keep a finished hypothesis, the continuation of a row, if it is among the best."""
        coverage = None if self._coverage is None else self._covered_by(attention, row)
        score = score_of(log_p, self.num_tokens, self._options, coverage)
        place = sum(other.score >= score for other in self._finished)
        self._finished.insert(place, _Finished(score, last, last.token == self._end_id))
        del self._finished[self._num_wanted :]

    def _covered_by(self, attention: NDArray[np.float32] | None, rows: int | list[int]) -> NDArray[np.float64]:
        """float64 [..., S], what rows and the attention of their next tokens have covered."""
        assert self._coverage is not None
        assert attention is not None, "a penalty of coverage needs the attention"
        covered: NDArray[np.float64] = self._coverage[rows] + attention[rows, : self._source_length]
        return covered

    def _row_of(self, attention: NDArray[np.float32] | None, row: int) -> NDArray[np.float32] | None:
        if not self._keep_attention:
            return None
        assert attention is not None, "attention that is kept is needed"
        return attention[row, : self._source_length].copy()

    def _hypothesis(self, finished: _Finished) -> Hypothesis:
        nodes: list[_Node] = []
        node = finished.last
        while node is not None:
            nodes.append(node)
            node = node.before
        nodes.reverse()
        ids = [node.token for node in nodes[: len(nodes) - finished.is_ended]]
        reason: Literal["stop", "length"] = "stop" if finished.is_ended else "length"
        return Hypothesis(ids, finished.score, reason, self._attention_of(nodes))

    def _attention_of(self, nodes: list[_Node]) -> NDArray[np.float32]:
        rows = [node.attention for node in nodes if node.attention is not None]
        return np.stack(rows) if rows else np.zeros((0, self._source_length), np.float32)


class GreedySearch:
    """What a beam of 1 finds, when its tokens come several at a time from wherever they were chosen.

    Args:
        options: penalties and max_tokens.
        end_id: the end token's id.
        source_length: tokens of the source, its end token counted, at least 1.
        keep_attention: whether the result carries its attention.
        max_tokens: by default `max_tokens_of` the other two.

    Attributes:
        ids: tokens so far, without the end token.
        num_tokens: tokens chosen so far, the end token counted.
        max_tokens: the most it may have.
    """

    def __init__(
        self,
        options: TranslationOptions,
        *,
        end_id: int,
        source_length: int,
        keep_attention: bool = True,
        max_tokens: int | None = None,
    ) -> None:
        self._options = options
        self._end_id = end_id
        self._source_length = source_length
        self._keep_attention = keep_attention
        self._log_p = 0.0
        self._attention: list[NDArray[np.float32]] = []
        self._coverage = np.zeros(source_length) if options.coverage_penalty else None  # float64 [S]
        self._is_ended = False
        self._num_taken = 0
        self.max_tokens = max_tokens or max_tokens_of(options, source_length)
        self.num_tokens = 0
        self.ids: list[int] = []

    @property
    def is_over(self) -> bool:
        """Whether the end token was chosen or max_tokens are reached."""
        return self._is_ended or self.num_tokens >= self.max_tokens

    def extend(self, tokens: list[int], log_probabilities: list[float], attention: NDArray[np.float32]) -> None:
        """Take the next tokens, as far as the search goes; what comes after its end is ignored.

        Args:
            tokens: of the next steps.
            log_probabilities: theirs, natural logarithms.
            attention: float32 [steps, S], S >= source_length; what is past it is ignored.
        """
        tokens = tokens[: self.max_tokens - self.num_tokens]
        if self._end_id in tokens:
            tokens = tokens[: tokens.index(self._end_id) + 1]
            self._is_ended = True
        num_steps = len(tokens)
        self.num_tokens += num_steps
        self.ids += tokens[: num_steps - self._is_ended]
        for log_probability in log_probabilities[:num_steps]:
            self._log_p += log_probability
        rows = attention[:num_steps, : self._source_length]
        if self._keep_attention:
            self._attention.append(rows.copy())
        if self._coverage is not None:
            for row in rows:  # one by one, so that the sum does not depend on how the steps were cut
                self._coverage += row

    def take(self) -> tuple[list[int], NDArray[np.float32] | None]:
        """The tokens since the last call, never the end token, and, where it is kept, their attention [n, S]."""
        start, self._num_taken = self._num_taken, len(self.ids)
        return self.ids[start:], self._all_attention()[start : len(self.ids)] if self._keep_attention else None

    def results(self) -> list[Hypothesis]:
        """What was found, once it is over: one hypothesis."""
        score = score_of(self._log_p, self.num_tokens, self._options, self._coverage)
        return [Hypothesis(self.ids, score, "stop" if self._is_ended else "length", self._all_attention())]

    def _all_attention(self) -> NDArray[np.float32]:
        return np.concatenate([np.zeros((0, self._source_length), np.float32), *self._attention])
