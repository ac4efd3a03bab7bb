"""How likely the model found a token: natural logarithms of the softmax of its logits as they come.

Temperature, filters, penalties and biases are not in it. Of equally likely tokens the lower id comes first. They stay
arrays until they are sent: as Python objects, 20 for each token of a long answer would take many times the memory.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.decoding.candidates import likeliest


class Logprobs(NamedTuple):
    """Of n tokens.

    Attributes:
        tokens: int64 [n], ids.
        logprobs: float64 [n], nats.
        top_ids: int64 [n, k], the likeliest tokens, the likeliest first.
        top_logprobs: float64 [n, k], theirs.
    """

    tokens: NDArray[np.int64]
    logprobs: NDArray[np.float64]
    top_ids: NDArray[np.int64]
    top_logprobs: NDArray[np.float64]

    def part(self, start: int, stop: int, num_top: int | None = None) -> Self:
        """A copy of those from `start` to `stop`, with the likeliest `num_top`, or all there are."""
        return type(self)(
            self.tokens[start:stop].copy(),
            self.logprobs[start:stop].copy(),
            self.top_ids[start:stop, :num_top].copy(),
            self.top_logprobs[start:stop, :num_top].copy(),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Those of at least one part, one after the other; all have the same k."""
        return parts[0] if len(parts) == 1 else cls(*map(np.concatenate, zip(*parts, strict=True)))


def token_logprobs(logits: NDArray[np.float32], tokens: NDArray[np.int64], num_top: int) -> Logprobs:
    """Of each row's chosen token, and of its likeliest ones.

    Args:
        logits: float32 [n, V], C-contiguous.
        tokens: int64 [n], ids.
        num_top: k, 0 or more; V if that is less.
    """
    with np.errstate(all="ignore"):
        z = logits - np.maximum.reduce(logits, axis=1)[:, None]
        log_sums = np.log(np.exp(z).sum(axis=1).astype(np.float64))
    chosen = z[np.arange(len(z)), tokens] - log_sums
    num_top = min(num_top, z.shape[1])
    if not num_top:
        return Logprobs(tokens, chosen, np.zeros((len(z), 0), np.int64), np.zeros((len(z), 0)))
    ids, values = likeliest(z, num_top)
    return Logprobs(tokens, chosen, ids, values - log_sums[:, None])
