"""How certain a figure is, and whether two models differ: the bootstrap, paired or not, and McNemar's exact test.

A figure is a function of sums over items (texts, sentences, series), so a resample is the sum of the rows of drawn
items (Koehn 2004). Resamples are drawn as sacrebleu draws them, with the same seed: an interval of BLEU here holds the
same resamples as sacrebleu's own. Knows numbers alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 1000
SEED = 12345  # sacrebleu's
_CELLS = 4_000_000  # of an array of drawn items

Floats = NDArray[np.float64]
Score = Callable[[Floats], Floats]  # sums [resamples, K] -> figures [resamples]


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Comparison:
    """One figure of two models on the same items.

    Attributes:
        name: the figure's.
        this: of the model that is evaluated.
        other: of the one it is compared with.
        low: end of the 95 % interval of the difference this - other; None where the test gives none.
        high: its other end.
        p: how often chance alone would give as large a difference.
        test: how p was found.
    """

    name: str
    this: float
    other: float
    low: float | None
    high: float | None
    p: float
    test: str


def figure(stats: Floats, score: Score) -> Figure:
    """A figure of all items with its interval.

    Args:
        stats: [items, K], what is summed.
        score: the figure of sums.
    """
    low, high = _interval(score(_sums(stats)))
    return Figure(float(score(stats.sum(axis=0)[None])[0]), low, high)


def paired_bootstrap(name: str, this: Floats, other: Floats, score: Score) -> Comparison:
    """Compare a figure of two models.

    p is the share of resamples whose difference lies at least as far from the mean of all differences as the difference
    of all items lies from 0, on either side; sacrebleu's paired bootstrap counts one side alone.

    Args:
        name: of the figure.
        this: [items, K].
        other: the same items.
        score: the figure of sums.
    """
    values = [float(score(stats.sum(axis=0)[None])[0]) for stats in (this, other)]
    differences = score(_sums(this)) - score(_sums(other))
    low, high = _interval(differences)
    num_far = int((np.abs(differences - differences.mean()) >= abs(values[0] - values[1])).sum())
    p = (num_far + 1) / (len(differences) + 1)
    return Comparison(name, values[0], values[1], low, high, p, f"paired bootstrap, {NUM_RESAMPLES} resamples")


def mcnemar(name: str, this: NDArray[np.bool_], other: NDArray[np.bool_]) -> Comparison:
    """Compare two accuracies by McNemar's test, exact: of the items that one alone has right, each is a fair coin.

    Args:
        name: of the figure.
        this: bool [items], whether each is right.
        other: the same items.
    """
    ours, theirs = int((this & ~other).sum()), int((other & ~this).sum())
    p = binomial_two_sided(ours, theirs)
    test = f"McNemar exact, {ours} right here alone, {theirs} there alone"
    return Comparison(name, float(this.mean()), float(other.mean()), None, None, p, test)


def binomial_two_sided(ours: int, theirs: int) -> float:
    """How often so many fair coins fall at least as unevenly; 1 where there is none."""
    num = ours + theirs
    tail = sum(math.comb(num, count) for count in range(min(ours, theirs) + 1))
    return float(min(1.0, 2 * tail / 2**num))  # whole numbers of any size: exact


def _sums(stats: Floats) -> Floats:
    """The sums of each resample, [NUM_RESAMPLES, K]."""
    num = len(stats)
    drawn = np.random.default_rng(SEED)
    block = max(1, _CELLS // max(1, num))
    found = []
    for start in range(0, NUM_RESAMPLES, block):
        indices = drawn.choice(num, size=(min(block, NUM_RESAMPLES - start), num), replace=True)
        counts = np.stack([np.bincount(row, minlength=num) for row in indices])
        found.append(counts.astype(np.float64) @ stats)
    return np.concatenate(found)


def _interval(values: Floats) -> tuple[float, float]:
    """What is left of the values without a fortieth at each end, as sacrebleu cuts them."""
    ordered = np.sort(values)
    cut = len(ordered) // 40
    return float(ordered[cut]), float(ordered[len(ordered) - cut - 1])
