"""Whole greedy decodes beside PyTorch's: the same texts, or where they part and whether PyTorch was sure there."""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Floats = NDArray[np.float32]

TIE = 1e-4  # two logits closer than this are as good as equal: either decode is right


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
