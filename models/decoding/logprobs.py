"""How likely the model found a token: natural logarithms of the softmax of its logits as they come.

Temperature, filters, penalties and biases are not in it. Of equally likely tokens the lower id comes first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.candidates import likeliest


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
    chosen = z[np.arange(len(z)), tokens] - log_sums
    most = min(max(num_top, default=0), z.shape[1])
    if not most:
        return [TokenLogprob(token, found, ()) for token, found in zip(tokens.tolist(), chosen.tolist(), strict=True)]
    ids, values = likeliest(z, most)
    tops = zip(ids.tolist(), (values - log_sums[:, None]).tolist(), num_top, strict=True)
    return [
        TokenLogprob(token, found, tuple(zip(top[:count], logprobs[:count], strict=True)))
        for token, found, (top, logprobs, count) in zip(tokens.tolist(), chosen.tolist(), tops, strict=True)
    ]
