"""The likeliest next tokens of each row and their log probabilities, for all rows of a step in one call.

A row's answer depends on its own logits alone, to the bit: every sum runs along the row, and what is found is the
same however many are asked for. Knows arrays only: no beams, no requests.
"""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray


class Candidates(NamedTuple):
    """What `top_candidates` found.

    Attributes:
        ids: int64 [n, count], the likeliest first; of equally likely tokens the one with the lower id.
        log_probabilities: float32 [n, count], natural logarithms; NaN in a row whose logits are not finite.
    """

    ids: NDArray[np.int64]
    log_probabilities: NDArray[np.float32]

    def of_rows(self, rows: NDArray[np.int64], count: int) -> Self:
        """The first `count` of some rows, int64 [m]."""
        return type(self)(self.ids[rows, :count], self.log_probabilities[rows, :count])

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
        ids, found = likeliest(z, min(count, logits.shape[1]))
        found -= np.log(np.add.reduce(np.exp(z, out=z), axis=1))[:, None]
        found[is_bad] = np.nan
    return Candidates(ids, found)


def likeliest(z: NDArray[np.float32], count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The indices and values of the `count` largest of each row, [n, count], largest first, ties by lower index.

    Taken one after the other: a pass over the rows for each is faster than any way to select several at once, for as
    few as a beam or a list of log probabilities has.

    Args:
        z: float32 [n, V], without NaN; changed meanwhile, and the same again in the end.
        count: from 1 to V.

    Returns:
        Indices int64 [n, count] and values float32 [n, count].
    """
    rows = np.arange(len(z))
    ids = np.empty((len(z), count), np.int64)
    found = np.empty((len(z), count), np.float32)
    for place in range(count):
        ids[:, place] = z.argmax(axis=1)
        found[:, place] = z[rows, ids[:, place]]
        z[rows, ids[:, place]] = -np.inf
    for place in reversed(range(count)):  # of an index taken twice the first value is the right one
        z[rows, ids[:, place]] = found[:, place]
    excluded = found[:, -1] == -np.inf  # rows with fewer tokens than that: which were taken is not known
    if excluded.any():
        ids[excluded] = np.argsort(-z[excluded], axis=1, kind="stable")[:, :count]
    return ids, found
