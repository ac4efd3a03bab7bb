"""How distance from PyTorch is measured: differences, nats per token, whole greedy decodes."""

import numpy as np
from numpy.typing import NDArray

from models.errors import ExportError

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]

TIE = 1e-4  # two logits closer than this are as good as equal: either decode is right


class Errors:
    """Collects differences from PyTorch, relative to the largest magnitude or 1.

    Attributes:
        worst: the largest; NaN once any difference was not finite.
    """

    def __init__(self) -> None:
        self.worst = 0.0
        self._total = 0.0
        self._count = 0

    def add(self, found: Floats, expected: Floats) -> None:
        """Compare two arrays of one shape.

        Raises:
            ExportError: their shapes differ.
        """
        if np.shape(found) != np.shape(expected):
            raise ExportError(
                f"The graphs give an array of shape {list(np.shape(found))} where the module gives "
                f"{list(np.shape(expected))}: the code is not what the graphs were made of."
            )
        error = np.abs(found - expected) / max(1.0, float(np.abs(expected).max()))
        if np.isfinite(error).all():
            self.worst = float(np.maximum(self.worst, error.max()))  # a NaN stays
        else:
            self.worst = float("nan")
        self._total += float(error.sum())
        self._count += error.size

    @property
    def mean(self) -> float:
        """The mean of all differences; 0 when nothing was compared."""
        return self._total / self._count if self._count else 0.0


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
