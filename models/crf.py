"""A linear-chain conditional random field over the labels of a sentence (Lafferty et al. 2001), as taggers have it
(Lample et al. 2016, section 2.2): the likeliest sequence of labels, and how likely each of them is.

Labels that are O, B-x and I-x have an order that no sentence breaks: I-x continues B-x or I-x. What breaks it has no
probability, in training as in serving. Numpy only; sentences are read one by one, so that none depends on another.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.spans import are_span_tags

_LEAST = -100.0  # nats behind a token's best label; what is less likely counts as this, so that no product is 0


def allowed_transitions(labels: Sequence[str]) -> NDArray[np.bool_]:
    """Which label may follow which.

    Args:
        labels: by class.

    Returns:
        bool [C + 1, C + 1]: row i, column j is whether j may follow i. Row C is a sentence's beginning, column C its
        end. Labels that are not O, B-x and I-x may follow each other in any order.
    """
    num_classes = len(labels)
    allowed = np.ones((num_classes + 1, num_classes + 1), np.bool_)
    if are_span_tags(labels):
        for j, label in enumerate(labels):
            if label.startswith("I-"):
                allowed[:, j] = [before in (f"B-{label[2:]}", label) for before in (*labels, "")]
    return allowed


class Crf:
    """Finds labels.

    Args:
        transitions: float32 [C + 1, C + 1], in nats, as `allowed_transitions` numbers them.
        labels: by class.
    """

    def __init__(self, transitions: NDArray[np.float32], labels: Sequence[str]) -> None:
        allowed = allowed_transitions(labels)
        scores = np.where(allowed, transitions.astype(np.float64), -np.inf)
        inner = np.ascontiguousarray(scores[:-1, :-1])
        self._first, self._inner, self._last = scores[-1, :-1].copy(), inner, scores[:-1, -1].copy()
        self._from = np.ascontiguousarray(inner.T)  # [to, from]
        weights = np.exp(scores - scores[allowed].max())
        self._weights = np.stack([weights[:-1, :-1], weights[:-1, :-1].T])  # [direction, from, to]
        self._end_weights = np.stack([weights[-1, :-1], weights[:-1, -1]])

    def decode(self, emissions: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The likeliest sequence of labels, and of each of its labels the probability.

        Args:
            emissions: float32 [T, C], finite, of the T tokens of a sentence, at least one.

        Returns:
            Classes int64 [T], and their marginal probabilities float64 [T]: the share of all sequences, each weighted
            by its probability, that have the label at the token.
        """
        found = self.best(emissions)
        return found, self.marginals(emissions)[np.arange(len(found)), found]

    def best(self, emissions: NDArray[np.float32]) -> NDArray[np.int64]:
        """The likeliest sequence of classes, int64 [T] (Viterbi 1967); of equal ones that with the first classes."""
        scores = emissions.astype(np.float64)
        scores[0] += self._first
        for before, now in pairwise(scores):
            now += np.maximum.reduce(before[:, np.newaxis] + self._inner)
        label = int((scores[-1] + self._last).argmax())
        found = [label]
        for before in scores[-2::-1]:
            label = int((before + self._from[label]).argmax())
            found.append(label)
        return np.array(found[::-1], np.int64)

    def marginals(self, emissions: NDArray[np.float32]) -> NDArray[np.float64]:
        """Each class's probability at each token, float64 [T, C].

        Forward-backward, each row scaled to a sum of 1 before the next (Rabiner 1989, section V.A). Both directions are
        one loop: of two rows the first stands at token t, the second at T - 1 - t.
        """
        shifted = emissions.astype(np.float64) - emissions.max(axis=1, keepdims=True)
        weights = np.exp(np.maximum(shifted, _LEAST))
        both = np.stack([weights, weights[::-1]], axis=1)
        both[0] *= self._end_weights
        for before, now in pairwise(both):
            now *= np.einsum("di,dij->dj", before / before.sum(axis=1, keepdims=True), self._weights)
        product = both[:, 0] * both[::-1, 1] / weights  # each direction holds the token's own weight
        result: NDArray[np.float64] = product / product.sum(axis=1, keepdims=True)
        return result
