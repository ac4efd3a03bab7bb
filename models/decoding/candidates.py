"""The likeliest next tokens of each row and their log probabilities, for all rows of a step in one call.

A row's answer depends on its own logits alone, to the bit: every sum runs along the row, and what is found is the
same however many are asked for. Knows arrays only: no beams, no requests.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

_GROUP = 64  # ids that are compared as one before the few that matter are looked at


class Candidates(NamedTuple):
    """What `top_candidates` found.

    Attributes:
        ids: int64 [n, count], the likeliest first; of equally likely tokens the one with the lower id.
        log_probabilities: float32 [n, count], natural logarithms; NaN in a row whose logits are not finite.
    """

    ids: NDArray[np.int64]
    log_probabilities: NDArray[np.float32]

    def of_rows(self, start: int, stop: int, count: int) -> Self:
        """The first `count` of rows start .. stop-1."""
        return type(self)(self.ids[start:stop, :count], self.log_probabilities[start:stop, :count])

    def with_chosen(self, rows: NDArray[np.int64], tokens: NDArray[np.int64], logits: NDArray[np.float32]) -> Self:
        """The same with other tokens, of any likelihood, in the first place of some rows.

        Args:
            rows: int64 [m].
            tokens: int64 [m].
            logits: float32 [n, V], which the candidates were found in.
        """
        ids, log_probabilities = self.ids.copy(), self.log_probabilities.copy()
        log_probabilities[rows, 0] += logits[rows, tokens] - logits[rows, ids[rows, 0]]
        ids[rows, 0] = tokens
        return type(self)(ids, log_probabilities)


def top_candidates(logits: NDArray[np.float32], count: int) -> Candidates:
    """The likeliest tokens of each row.

    Args:
        logits: float32 [n, V], C-contiguous, n >= 1; not changed. -infinity excludes a token.
        count: at least 1; more than V gives V.

    Returns:
        The candidates: log softmax in float32, log p = (z - max z) - log(sum exp(z - max z)).
    """
    with np.errstate(all="ignore"):  # what is not finite is NaN in the answer
        best = np.maximum.reduce(logits, axis=1)
        z = logits - best[:, None]
        is_bad = ~np.isfinite(best)
        if is_bad.any():
            z[is_bad] = 0.0  # until the end they must not upset the others
        ids = _likeliest(z, min(count, logits.shape[1]))
        found = np.take_along_axis(z, ids, axis=1)
        found -= np.log(np.add.reduce(np.exp(z, out=z), axis=1))[:, None]
        found[is_bad] = np.nan
    return Candidates(ids, found)


def _likeliest(z: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Where the `count` largest of each row lie, int64 [n, count], largest first, ties by lower index."""
    n, V = z.shape
    if count == 1:
        likeliest: NDArray[np.int64] = z.argmax(axis=1)
        return likeliest[:, None]
    # At least `count` groups hold a number as large as the count-th largest of the groups' maxima, so nothing below
    # that is among the `count` largest.
    size = min(_GROUP, V // (2 * count))
    maxima = z if size < 2 else np.maximum.reduce(z[:, : V // size * size].reshape(n, size, -1), axis=1)
    floor = np.partition(maxima, maxima.shape[1] - count, axis=1)[:, maxima.shape[1] - count]
    places = np.flatnonzero(z >= floor[:, None])  # faster than np.nonzero of two dimensions
    rows, ids = np.divmod(places, V)
    order = np.lexsort((-z.ravel()[places], rows))  # stable: ids ascend in each row, of equal numbers too
    starts = np.searchsorted(rows, np.arange(n))
    found: NDArray[np.int64] = ids[order[starts[:, None] + np.arange(count)]]
    return found
