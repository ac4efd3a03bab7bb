"""How much of PyTorch's answers rounded graphs give again: for outputs of any unit, of which nobody knows what is good.

Of numbers the share of their variance that is lost, as 1 - R2; of decisions (integers, truth values) the share that is
the same.
"""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from runtime.runner import Array

LOST, KEPT = "lost_share_of_variance", "decisions_kept"


class _Sums:
    """Of one output of k numbers a frame."""

    def __init__(self) -> None:
        self.count = 0
        self.lost = 0.0
        self.total: NDArray[np.float64] | float = 0.0
        self.squares: NDArray[np.float64] | float = 0.0

    @property
    def share(self) -> float:
        variance = float(np.sum(self.squares - np.square(self.total) / max(1, self.count)))
        return 0.0 if self.lost == 0 else self.lost / variance if variance > 0 else float("inf")


class Explained:
    """Collects answers, frame by frame."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, _Sums] = defaultdict(_Sums)
        self._decisions: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])

    def add(self, name: str, found: Array, expected: Array) -> None:
        """Compare frames of one output.

        Args:
            name: of the output.
            found: [frames, ...], any dtype.
            expected: what PyTorch gives, of the same shape.
        """
        if expected.dtype.kind != "f":
            counts = self._decisions[name]
            counts[0] += int((found == expected).sum())
            counts[1] += expected.size
            return
        one, other = (values.reshape(len(expected), -1).astype(np.float64) for values in (found, expected))
        is_same = (one == other) | (np.isnan(one) & np.isnan(other))
        one, other = np.where(is_same, 0, one), np.where(np.isfinite(other), other, 0)
        sums = self._sums[name]
        sums.count += len(other)
        sums.total = sums.total + other.sum(axis=0)
        sums.squares = sums.squares + np.square(other).sum(axis=0)
        with np.errstate(invalid="ignore"):
            lost = float(np.square(np.where(is_same, 0, one - other)).sum())
        sums.lost += lost if np.isfinite(lost) else float("inf")

    def figures(self) -> dict[str, float]:
        """The worst output's figure of each kind; those that there are."""
        found = {LOST: max(sums.share for sums in self._sums.values())} if self._sums else {}
        kept = [same / count for same, count in self._decisions.values() if count]
        return found | ({KEPT: min(kept)} if kept else {})
