"""From logits to tokens, for all rows of a batch at once, each with its own options.

What is sampled from, in this order (temperature first, then the three filters of Fan et al. 2018, Holtzman et al. 2020
and Nguyen et al. 2024):

    temperature  z = (logits - max logits) / temperature; weight = exp(z), in float32. 0 takes the likeliest token.
    top_k        keeps the k likeliest tokens.
    top_p        of those, keeps the fewest likeliest whose weights reach top_p of their sum.
    min_p        of those, keeps the ones whose weight is at least min_p of the likeliest one's.

Of equally likely tokens the one with the lower id counts as the likelier. One uniform number then picks the token by
the inverse of the cumulative weights, in id order.

A row's token depends on its logits and options alone, to the bit: rows are C-contiguous, every sum runs along a row
in an order that the vocabulary's size fixes, and no row is treated otherwise because of its neighbours.
"""

import numpy as np
from numpy.typing import NDArray

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
_BLOCK = 64  # tokens whose weights are summed before the cumulative sum over blocks


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
    temperature = max(options.temperature, _LEAST_TEMPERATURE) if options.temperature > 0 else 0.0
    values = (
        stream_key(seed, choice),
        position,
        position + options.min_tokens,
        temperature,
        min(options.top_k, 2**62),
        options.top_p,
        options.min_p,
    )
    return np.array([values], dtype=ROW)


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
        is_sampled = rows["temperature"] > 0
        if is_sampled.all():
            chosen = _sample(logits, best, rows)
        elif is_sampled.any():
            chosen[is_sampled] = _sample(logits[is_sampled], best[is_sampled], rows[is_sampled])
        chosen[~np.isfinite(best)] = NOT_FINITE
        return chosen


def _sample(logits: NDArray[np.float32], best: NDArray[np.float32], rows: NDArray[np.void]) -> NDArray[np.int64]:
    """Sample every row. `best`, float32 [n], is each row's largest logit."""
    with np.errstate(invalid="ignore"):  # a row that is not finite is marked by the caller
        z = logits - best[:, None]
        z /= rows["temperature"][:, None]
    top_k = rows["top_k"]
    if top_k.any():
        for k in np.unique(top_k[(top_k > 0) & (top_k < z.shape[1])]):
            _apply_top_k(z, np.flatnonzero(top_k == k), int(k))
    top_p = rows["top_p"]
    if (top_p < 1).any():
        _apply_top_p(z, np.flatnonzero(top_p < 1), top_p)
    num_blocks = -(-z.shape[1] // _BLOCK)
    weights = np.zeros((len(z), num_blocks * _BLOCK), np.float32)
    np.exp(z, out=weights[:, : z.shape[1]])
    min_p = rows["min_p"]
    if min_p.any():
        weights[weights < min_p[:, None]] = 0.0
    return _invert(weights.reshape(len(z), num_blocks, _BLOCK), uniforms(rows["key"], rows["position"]))


def _invert(weights: NDArray[np.float32], uniform: NDArray[np.float64]) -> NDArray[np.int64]:
    """The first id at which the cumulative weight exceeds the uniform share of the whole.

    Args:
        weights: float32 [n, blocks, block], not negative, some positive.
        uniform: float64 [n], in [0, 1).

    Returns:
        int64 [n]; the weight of each is positive.
    """
    each = np.arange(len(weights))
    sums = np.cumsum(weights.sum(axis=2).astype(np.float64), axis=1)
    wanted = uniform * sums[:, -1]  # always below the sum, for uniform is at most 1 - 2^-53
    block = np.minimum((sums <= wanted[:, None]).sum(axis=1), weights.shape[1] - 1)
    before = np.where(block > 0, sums[each, block - 1], 0.0)
    inside = np.cumsum(weights[each, block].astype(np.float64), axis=1)
    # The two ways to sum a block may differ in the last bit; what is wanted must lie inside this one.
    wanted = np.minimum(wanted - before, np.nextafter(inside[:, -1], 0.0))
    offset = np.minimum((inside <= wanted[:, None]).sum(axis=1), weights.shape[2] - 1)
    chosen: NDArray[np.int64] = block * weights.shape[2] + offset
    return chosen


def _apply_top_k(z: NDArray[np.float32], which: NDArray[np.int64], k: int) -> None:
    """Set all but the k largest of the rows `which` of z to -infinity, in place."""
    part = z[which]
    at = part.shape[1] - k
    least = np.partition(part, at, axis=1)[:, at]
    z[which] = _only_largest(part, least, np.full(len(which), k))


def _apply_top_p(z: NDArray[np.float32], which: NDArray[np.int64], top_p: NDArray[np.float64]) -> None:
    """Set all but the fewest largest whose weights reach top_p of the sum to -infinity, in rows `which`, in place."""
    part = z[which]
    falling = np.ascontiguousarray(np.sort(part, axis=1)[:, ::-1])
    sums = np.cumsum(np.exp(falling).astype(np.float64), axis=1)
    counts = (sums < top_p[which, None] * sums[:, -1:]).sum(axis=1) + 1
    np.minimum(counts, part.shape[1], out=counts)
    least = falling[np.arange(len(which)), counts - 1]
    z[which] = _only_largest(part, least, counts)


def _only_largest(z: NDArray[np.float32], least: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Keep counts[i] numbers of row i, whose counts[i]-th largest is least[i]; of equal ones those with lower ids."""
    kept = z >= least[:, None]
    crowded = np.flatnonzero(kept.sum(axis=1) > counts)
    if len(crowded):
        rows, floor = z[crowded], least[crowded, None]
        above = rows > floor
        ties = rows == floor
        room = counts[crowded] - above.sum(axis=1)
        kept[crowded] = above | (ties & (np.cumsum(ties, axis=1) <= room[:, None]))
    return np.where(kept, z, np.float32(-np.inf))
