"""How distance from PyTorch is measured: differences, nats per token, whole greedy decodes."""

from collections.abc import Callable, Iterator
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.parity.limits import FP32_TOLERANCE
from models.errors import ExportError
from runtime.distance import allowed_difference, difference

Array = NDArray[Any]
Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

_BLOCK = 1 << 23  # numbers that are compared at once
TIE = 1e-4  # two logits closer than this are as good as equal: either decode is right


class Errors:
    """Collects differences from PyTorch, measured as runtime.distance says.

    Args:
        tolerance: a share of a number's magnitude, such as 1e-5.
        least: no magnitude counts for less; for comparisons in which float64 has no part.

    Attributes:
        worst: the largest share of what is allowed, times the tolerance: at most the tolerance when all is well. Where
            PyTorch's own float32 error counts for nothing, that is the largest difference. Infinite once a number was
            finite on one side only.
        difference: the difference there.
        allowed: what was allowed there; the tolerance, or more where PyTorch itself is less exact.
        count: how many numbers were compared.
    """

    def __init__(self, tolerance: float = FP32_TOLERANCE, least: float = 0.0) -> None:
        self.tolerance = tolerance
        self._least = least
        self.worst = 0.0
        self.difference = 0.0
        self.allowed = tolerance
        self.count = 0
        self._total = 0.0

    def add(self, found: Array, expected: Array, precise: Callable[[], Array | None] = lambda: None) -> None:
        """Compare two arrays of one shape.

        Args:
            found: any dtype.
            expected: what PyTorch gives.
            precise: float64, what PyTorch gives when it computes in float64, or None; called where the tolerance alone
                is not enough.

        Raises:
            ExportError: their shapes differ.
        """
        if np.shape(found) != np.shape(expected):
            raise ExportError(
                f"The graphs give an array of shape {list(np.shape(found))} where the module gives "
                f"{list(np.shape(expected))}: the code is not what the graphs were made of."
            )
        for rows in _row_blocks(expected):
            self._add(found, expected, rows, precise)

    def _add(
        self, found: Array, expected: Array, rows: slice | EllipsisType, precise: Callable[[], Array | None]
    ) -> None:
        found, expected, shape = np.asarray(found[rows]), np.asarray(expected[rows]), np.shape(expected)
        error = difference(found, expected, self._least)
        self._total += float(error.sum())
        self.count += error.size
        if not error.size or not float(error.max()) > self.worst:
            return
        exact = None if float(error.max()) <= self.tolerance else precise()
        exact = None if exact is None or exact.shape != shape else exact[rows]
        allowed = allowed_difference(expected, exact, self.tolerance)
        with np.errstate(invalid="ignore"):
            share = np.where(np.isinf(allowed), 0, error / allowed)
        place = np.unravel_index(share.argmax(), share.shape)
        worst = float(share[place]) * self.tolerance
        if worst > self.worst:
            self.worst, self.difference, self.allowed = worst, float(error[place]), float(allowed[place])

    def merge(self, other: "Errors") -> None:
        """Take in what other errors of the same tolerance found."""
        self._total += other._total
        self.count += other.count
        if other.worst > self.worst:
            self.worst, self.difference, self.allowed = other.worst, other.difference, other.allowed

    @property
    def mean(self) -> float:
        """The mean of all differences; 0 when nothing was compared."""
        return self._total / self.count if self.count else 0.0


def _row_blocks(array: Array) -> Iterator[slice | EllipsisType]:
    """Parts of the first axis that are small enough to be compared at once; all of an array with one axis or none."""
    if array.ndim < 2 or array.size <= _BLOCK:
        yield ...
        return
    step = max(1, _BLOCK * len(array) // array.size)
    for start in range(0, len(array), step):
        yield slice(start, start + step)


def nats(logits: Floats, targets: NDArray[np.int64], is_target: NDArray[np.bool_]) -> float:
    """Mean -log p of the targets.

    Args:
        logits: float32 [batch, time, V].
        targets: int64 [batch, time].
        is_target: bool [batch, time]: which count.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=-1))
    chosen = np.take_along_axis(shifted, targets[..., None], axis=-1)[..., 0]
    return float((log_sums - chosen)[is_target].mean(dtype=np.float64))


def decode_figures(expected: Ids, margins: Floats, found: Ids) -> dict[str, float]:
    """Compare decodes.

    Args:
        expected: int64 [batch, steps], PyTorch's.
        margins: float32 [batch, steps], how far its second logit lay behind the first.
        found: int64 [batch, steps].

    Returns:
        greedy_decodes_identical, the share of rows; greedy_decodes_changed, the number of rows that part from
        PyTorch's at a place where its margin is more than a tie.
    """
    differs = expected != found
    first = differs.argmax(axis=1)
    was_sure = np.take_along_axis(margins, first[:, None], axis=1)[:, 0] > TIE
    is_other = differs.any(axis=1)
    return {
        "greedy_decodes_identical": float(1 - is_other.mean()),
        "greedy_decodes_changed": int((is_other & was_sure).sum()),
    }


def until_end(expected: Ids, margins: Floats, found: Ids, end_id: int) -> tuple[Ids, Floats, Ids]:
    """The same arguments with everything after each row's first end token, in either decode, made equal."""
    cut_expected, cut_found = expected.copy(), found.copy()
    for tokens in (cut_expected, cut_found):
        is_over = np.cumsum(tokens == end_id, axis=1) - (tokens == end_id) > 0
        tokens[is_over] = end_id
    return cut_expected, margins, cut_found
