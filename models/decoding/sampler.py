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

import math
from contextvars import Context

import numpy as np
from numpy.typing import NDArray

from models.decoding.inverse_cdf import inverse_cdf, weights_of
from models.decoding.likeliest import largest_mask, likeliest_ids
from models.decoding.options import GenerationOptions
from models.decoding.uniforms import stream_key, uniforms

GREEDY, PLAIN, FILTERED = 0, 1, 2  # kinds of rows: temperature 0; sampled from all tokens; with top_k, top_p or min_p

# `position`: absolute position of the token to be chosen; `end_from`: the first at which it may be the end token.
ROW = np.dtype(
    [
        ("key", np.uint64),
        ("position", np.int64),
        ("end_from", np.int64),
        ("kind", np.int8),
        ("temperature", np.float32),
        ("top_k", np.int64),
        ("top_p", np.float64),
        ("min_p", np.float32),
    ]
)
_LEAST_TEMPERATURE = 1e-6  # one below it but not 0 counts as this, so that quotients of logits do not overflow

Choice = tuple[NDArray[np.int64], NDArray[np.float32]]  # tokens [n], and the largest logit of each row [n]

NOT_FINITE = -1  # in place of a token: the row's logits hold NaN or infinity

_HEAD = 512  # a nucleus is small as a rule: it is looked for among so many tokens before the vocabulary is sorted
_IN_HEAD = -1  # as a number of candidates: try the head first
_BEYOND_HEAD = -1  # as a choice: the nucleus is larger than the head


def sampling_row(options: GenerationOptions, *, seed: int, choice: int, position: int) -> NDArray[np.void]:
    """What the sampler needs of one row.

    Args:
        options: the request's.
        seed: the request's seed, 0 .. 2^63 - 1.
        choice: which of its prompt's samples this is, from 0.
        position: absolute position of the first token to be chosen: the number of tokens before it.

    Returns:
        dtype ROW, [1].
    """
    has_filter = options.top_k > 0 or options.top_p < 1 or options.min_p > 0
    values = (
        stream_key(seed, choice),
        position,
        position + options.min_tokens,
        GREEDY if options.temperature == 0 else FILTERED if has_filter else PLAIN,
        0 if options.temperature == 0 else max(options.temperature, _LEAST_TEMPERATURE),
        min(options.top_k, 2**62),
        options.top_p,
        options.min_p,
    )
    return np.array([values], ROW)


class Sampler:
    """Chooses the next token of each row. Not thread-safe.

    Args:
        end_id: the end token's id, or None when the vocabulary has none.
    """

    def __init__(self, end_id: int | None) -> None:
        self._end_id = end_id
        self._quiet = _quiet_context()

    def choose(self, logits: NDArray[np.float32], rows: NDArray[np.void]) -> NDArray[np.int64]:
        """The next token of each row.

        Args:
            logits: float32 [n, V], C-contiguous, n >= 1; not changed.
            rows: dtype ROW, [n], at the positions of the tokens that are to be chosen.

        Returns:
            int64 [n], ids, or NOT_FINITE for a row whose logits are not finite (some may be -infinity, not all).
        """
        return self._quiet.run(self._choose, logits, rows)

    def _choose(self, logits: NDArray[np.float32], rows: NDArray[np.void]) -> NDArray[np.int64]:
        early = rows["position"] < rows["end_from"]
        if self._end_id is not None and early.any():
            logits = logits.copy()
            logits[early, self._end_id] = -np.inf
        (numbers,) = uniforms(rows["key"], rows["position"])
        chosen, best = _choose_mixed(logits, rows, numbers)
        if not math.isfinite(np.add.reduce(best)):
            chosen[~np.isfinite(best)] = NOT_FINITE
        return chosen


def _quiet_context() -> Context:
    """Where numpy does not warn of what is not finite: `choose` marks it.

    numpy keeps what it warns of in the context. To run in one that is ready costs less than `np.errstate` in each step.
    """
    context = Context()
    context.run(np.seterr, all="ignore")
    return context


def _choose_greedily(logits: NDArray[np.float32]) -> Choice:
    chosen = logits.argmax(axis=1)  # the first NaN where there is one
    return chosen, logits[np.arange(len(logits)), chosen]


def _choose_plainly(
    logits: NDArray[np.float32], temperature: NDArray[np.float32], numbers: NDArray[np.float64]
) -> Choice:
    """Sample from all tokens."""
    best = np.maximum.reduce(logits, axis=1)
    return inverse_cdf(weights_of(_scaled(logits, best, temperature)), numbers), best


def _choose_mixed(logits: NDArray[np.float32], table: NDArray[np.void], numbers: NDArray[np.float64]) -> Choice:
    """Each kind by itself."""
    chosen = np.empty(len(table), np.int64)
    best = np.empty(len(table), np.float32)
    for kind in np.unique(table["kind"]):
        which = np.flatnonzero(table["kind"] == kind)
        some = np.ascontiguousarray(logits[which])
        if kind == GREEDY:
            chosen[which], best[which] = _choose_greedily(some)
        elif kind == PLAIN:
            chosen[which], best[which] = _choose_plainly(some, table["temperature"][which, None], numbers[which])
        else:
            chosen[which], best[which] = _choose_filtered(some, table[which], numbers[which])
    return chosen, best


def _choose_filtered(logits: NDArray[np.float32], table: NDArray[np.void], numbers: NDArray[np.float64]) -> Choice:
    """Sample from what the filters leave, rows with equally many candidates together."""
    best = np.maximum.reduce(logits, axis=1)
    z = _scaled(logits, best, table["temperature"][:, None])
    z[~np.isfinite(best)] = 0.0  # marked in the end; until then they must not upset the others
    V = z.shape[1]
    num_candidates = np.where((table["top_k"] == 0) | (table["top_k"] > V), V, table["top_k"])
    if V > _HEAD:
        num_candidates[(num_candidates == V) & (table["top_p"] < 1)] = _IN_HEAD
    chosen = np.empty(len(z), np.int64)
    for count in np.unique(num_candidates).tolist():
        which = np.flatnonzero(num_candidates == count)
        chosen[which] = _sample_likeliest(z[which], table[which], numbers[which], count)
    return chosen, best


def _scaled(
    logits: NDArray[np.float32], best: NDArray[np.float32], temperature: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The logits above the largest, over the temperature: float32 [n, V], none above 0."""
    z: NDArray[np.float32] = logits - best[:, None]
    z /= temperature
    return z


def _sample_likeliest(
    z: NDArray[np.float32], table: NDArray[np.void], numbers: NDArray[np.float64], count: int
) -> NDArray[np.int64]:
    """Sample among each row's `count` likeliest tokens, or, for _IN_HEAD, among all that top_p leaves of them."""
    if count == z.shape[1]:
        return _sample_candidates(z, table, numbers)
    ids = likeliest_ids(z, _HEAD if count == _IN_HEAD else count)
    candidates = np.take_along_axis(z, ids, axis=1)
    if count != _IN_HEAD:
        return ids[np.arange(len(ids)), _sample_candidates(candidates, table, numbers)]
    places = _sample_candidates(candidates, table, numbers, np.exp(z).sum(axis=1).astype(np.float64))
    chosen: NDArray[np.int64] = ids[np.arange(len(ids)), places]
    wide = np.flatnonzero(places == _BEYOND_HEAD)
    if len(wide):
        chosen[wide] = _sample_candidates(z[wide], table[wide], numbers[wide])
    return chosen


def _sample_candidates(
    z: NDArray[np.float32],
    table: NDArray[np.void],
    numbers: NDArray[np.float64],
    sums: NDArray[np.float64] | None = None,
) -> NDArray[np.int64]:
    """Apply top_p and min_p to the candidates and pick one of them.

    Args:
        z: float32 [n, count], in id order.
        table: dtype ROW, [n].
        numbers: float64 [n].
        sums: float64 [n], the weight of which top_p is a share; by default that of the candidates.

    Returns:
        int64 [n], 0 .. count-1; with `sums`, _BEYOND_HEAD where the candidates' weights do not reach the share.
    """
    is_wide = None
    top_p = table["top_p"]
    kept = None
    if (top_p < 1).any():
        falling = np.ascontiguousarray(np.sort(z, axis=1)[:, ::-1])
        mass = np.cumsum(np.exp(falling), axis=1, dtype=np.float64)
        wanted = top_p * (mass[:, -1] if sums is None else sums)
        counts = np.where(top_p < 1, np.count_nonzero(mass < wanted[:, None], axis=1) + 1, z.shape[1])
        is_wide = counts > z.shape[1]
        counts = np.minimum(counts, z.shape[1])
        kept = largest_mask(z, falling[np.arange(len(z)), counts - 1], counts)
    padded = weights_of(z)
    weights = padded[:, : z.shape[1]]
    if kept is not None:
        weights *= kept
    min_p = table["min_p"]
    if min_p.any():
        weights *= weights >= min_p[:, None]
    places = inverse_cdf(padded, numbers)
    if is_wide is not None and sums is not None:
        places[is_wide] = _BEYOND_HEAD
    return places
