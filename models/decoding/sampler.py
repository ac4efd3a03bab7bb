"""From logits to tokens, for all rows of a batch at once, each with its own options.

What is sampled from, in this order (temperature first, then the filters of Fan et al. 2018, Holtzman et al. 2020 and
Nguyen et al. 2024):

    temperature  z = (logits - max logits) / temperature; weight = exp(z), in float32. 0 takes the likeliest token.
    top_k        keeps the k likeliest tokens.
    top_p        of those, keeps the fewest likeliest whose weights reach top_p of their sum.
    min_p        of those, keeps the ones whose weight is at least min_p of the likeliest one's.

Of equally likely tokens the one with the lower id counts as the likelier. One uniform number then picks the token by
the inverse of the cumulative weights, in id order.

A row's token depends on its logits and options alone, to the bit: rows are C-contiguous, every sum runs along a row
in an order that the row's own options and logits fix, and nothing is chosen by what else is in the batch.
"""

import numpy as np
from numpy.typing import NDArray

from models.decoding.inverse_cdf import blank_weights, inverse_cdf
from models.decoding.likeliest import largest_mask, likeliest_ids
from models.decoding.options import GenerationOptions
from models.decoding.uniforms import stream_key, uniforms

NOT_FINITE = -1  # in place of a token: the row's logits hold NaN or infinity

# What the sampler keeps of a row. `end_from` is the first position at which the end token may be chosen.
ROW = np.dtype(
    [
        ("key", np.uint64),
        ("position", np.int64),
        ("end_from", np.int64),
        ("temperature", np.float32),
        ("top_k", np.int64),
        ("top_p", np.float64),
        ("min_p", np.float32),
    ]
)
_LEAST_TEMPERATURE = 1e-30  # below it a float32 quotient of logits could overflow; the result is the same
_HEAD = 512  # a nucleus is small as a rule: it is looked for among so many tokens before the vocabulary is sorted
_IN_HEAD = -1  # as a number of candidates: try the head first
_BEYOND_HEAD = -1  # as a choice: the nucleus is larger than the head


def sampling_row(options: GenerationOptions, *, seed: int, choice: int, position: int) -> NDArray[np.void]:
    """One row for `Sampler.choose`; rows are joined by np.concatenate and reordered by indexing.

    Args:
        options: the request's.
        seed: the request's seed, 0 .. 2^63 - 1.
        choice: which of its prompt's samples this is, from 0.
        position: absolute position of the first token to be chosen: the number of tokens before it.

    Returns:
        dtype ROW, [1]. Add 1 to "position" after each token.
    """
    row = np.zeros(1, ROW)
    row["key"] = stream_key(seed, choice)
    row["position"] = position
    row["end_from"] = position + options.min_tokens
    row["temperature"] = max(options.temperature, _LEAST_TEMPERATURE) if options.temperature > 0 else 0.0
    row["top_k"] = min(options.top_k, 2**62)
    row["top_p"] = options.top_p
    row["min_p"] = options.min_p
    return row


class Sampler:
    """Chooses the next token of each row.

    Args:
        end_id: the end token's id, or None when the vocabulary has none.
    """

    def __init__(self, end_id: int | None) -> None:
        self._end_id = end_id

    def choose(self, logits: NDArray[np.float32], rows: NDArray[np.void]) -> NDArray[np.int64]:
        """The next token of each row.

        Args:
            logits: float32 [n, V], C-contiguous, n >= 1; not changed.
            rows: dtype ROW, [n].

        Returns:
            int64 [n], ids, or NOT_FINITE for a row whose logits are not finite (some may be -infinity, not all).
        """
        if self._end_id is not None:
            is_early = rows["position"] < rows["end_from"]
            if is_early.any():
                logits = logits.copy()
                logits[is_early, self._end_id] = -np.inf
        chosen: NDArray[np.int64] = logits.argmax(axis=1)  # the first NaN where there is one
        best = logits[np.arange(len(rows)), chosen]
        is_sampled = (rows["temperature"] > 0) & np.isfinite(best)
        if is_sampled.all():
            chosen = _sample(logits, best, rows)
        elif is_sampled.any():
            chosen[is_sampled] = _sample(logits[is_sampled], best[is_sampled], rows[is_sampled])
        chosen[~np.isfinite(best)] = NOT_FINITE
        return chosen


def _sample(logits: NDArray[np.float32], best: NDArray[np.float32], rows: NDArray[np.void]) -> NDArray[np.int64]:
    """Sample every row, those with equally many candidates together.

    Args:
        logits: float32 [n, V].
        best: float32 [n], each row's largest logit, finite.
        rows: dtype ROW, [n].
    """
    z = logits - best[:, None]
    with np.errstate(over="ignore"):  # to -infinity, whose weight is 0
        z /= rows["temperature"][:, None]
    V = z.shape[1]
    num_candidates = np.where((rows["top_k"] == 0) | (rows["top_k"] > V), V, rows["top_k"])
    if V > _HEAD:
        num_candidates[(num_candidates == V) & (rows["top_p"] < 1)] = _IN_HEAD
    counts = np.unique(num_candidates).tolist()
    if len(counts) == 1:
        return _sample_likeliest(z, rows, counts[0])
    chosen = np.empty(len(z), np.int64)
    for count in counts:
        which = num_candidates == count
        chosen[which] = _sample_likeliest(z[which], rows[which], count)
    return chosen


def _sample_likeliest(z: NDArray[np.float32], rows: NDArray[np.void], count: int) -> NDArray[np.int64]:
    """Sample among each row's `count` likeliest tokens, or, for _IN_HEAD, among all that top_p leaves of them."""
    if count == z.shape[1]:
        return _sample_candidates(z, rows)
    ids = likeliest_ids(z, _HEAD if count == _IN_HEAD else count)
    candidates = np.take_along_axis(z, ids, axis=1)
    if count != _IN_HEAD:
        return ids[np.arange(len(ids)), _sample_candidates(candidates, rows)]
    places = _sample_candidates(candidates, rows, np.exp(z).sum(axis=1).astype(np.float64))
    chosen: NDArray[np.int64] = ids[np.arange(len(ids)), places]
    wide = np.flatnonzero(places == _BEYOND_HEAD)
    if len(wide):
        chosen[wide] = _sample_candidates(z[wide], rows[wide])
    return chosen


def _sample_candidates(
    z: NDArray[np.float32], rows: NDArray[np.void], sums: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Apply top_p and min_p to the candidates and pick one of them.

    Args:
        z: float32 [n, count], in id order.
        rows: dtype ROW, [n].
        sums: float64 [n], the weight of which top_p is a share; by default that of the candidates.

    Returns:
        int64 [n], 0 .. count-1; with `sums`, _BEYOND_HEAD where the candidates' weights do not reach the share.
    """
    padded = blank_weights(*z.shape)
    weights = padded[:, : z.shape[1]]
    np.exp(z, out=weights)
    is_wide = None
    top_p = rows["top_p"]
    if (top_p < 1).any():
        falling = np.ascontiguousarray(np.sort(z, axis=1)[:, ::-1])
        mass = np.cumsum(np.exp(falling).astype(np.float64), axis=1)
        wanted = top_p * (mass[:, -1] if sums is None else sums)
        counts = np.where(top_p < 1, np.count_nonzero(mass < wanted[:, None], axis=1) + 1, z.shape[1])
        is_wide = counts > z.shape[1]
        counts = np.minimum(counts, z.shape[1])
        weights *= largest_mask(z, falling[np.arange(len(z)), counts - 1], counts)
    min_p = rows["min_p"]
    if min_p.any():
        weights *= weights >= min_p[:, None]
    places = inverse_cdf(padded, uniforms(rows["key"], rows["position"]))
    if is_wide is not None and sums is not None:
        places[is_wide] = _BEYOND_HEAD
    return places
