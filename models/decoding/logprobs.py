"""How likely the model found a token: natural logarithms of the softmax of its logits as they come.

Temperature, filters, penalties and biases are not in it. Of equally likely tokens the lower id comes first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.likeliest import likeliest_ids


class TokenLogprob(NamedTuple):
    """One chosen token."""

    token: int
    logprob: float  # nats
    top: tuple[tuple[int, float], ...]  # the likeliest tokens and theirs, the likeliest first


def token_logprobs(
    logits: NDArray[np.float32], tokens: NDArray[np.int64], num_top: Sequence[int]
) -> list[TokenLogprob]:
    """Of each row's chosen token, and of its likeliest ones.

    Args:
        logits: float32 [n, V], C-contiguous.
        tokens: int64 [n], ids.
        num_top: how many of the likeliest each row wants, 0 or more; all there are if fewer.
    """
    with np.errstate(all="ignore"):
        z = logits - np.maximum.reduce(logits, axis=1)[:, None]
        log_sums = np.log(np.exp(z).sum(axis=1).astype(np.float64))
    found = []
    for row, token, count, log_sum in zip(z, tokens.tolist(), num_top, log_sums.tolist(), strict=True):
        top: list[int] = []
        if count:
            ids = likeliest_ids(row[None], min(count, len(row)))[0]
            top = ids[np.lexsort((ids, -row[ids]))].tolist()
        pairs = tuple((i, float(row[i]) - log_sum) for i in top)
        found.append(TokenLogprob(token, float(row[token]) - log_sum, pairs))
    return found
