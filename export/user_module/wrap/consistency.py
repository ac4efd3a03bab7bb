"""What wrapped models are measured with: texts of many shapes, read by their graphs and by the user's own forward.

Whether the graphs agree among themselves knows no user's code and no torch: an answer may not depend on other rows, on
padding, or on how a text is cut; within rounding it must not, and whether it does in the last bit is reported.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.parity.errors import Errors
from runtime.padding import padded

Ids = NDArray[np.int64]
Lengths = NDArray[np.int32]

_NAN = "gives NaN"
SHAPES = ((1, 1), (2, 2), (5, 17), (4, 40), (17, 9))  # batch, longest text
# Long texts, read only to be compared with PyTorch: a forward may decide by a size that the short ones never reach.
LONG_SHAPES = ((2, 130), (12, 300))
NOT_COMPARED = "batches_not_compared"  # a figure
NUM_SLOTS = 32  # of a step runner that reads them


def within(shapes: Iterable[tuple[int, int]], longest: int | None) -> list[tuple[int, int]]:
    """Shapes whose texts are no longer than a tokenizer lets them be; None where it does not cut."""
    return [(batch, time if longest is None else min(time, longest)) for batch, time in shapes]


def unpadded(texts: list[list[int]]) -> tuple[Ids, Lengths]:
    """As padded, but only to the longest."""
    ids, lengths = padded(texts)
    return np.ascontiguousarray(ids[:, : lengths.max()]), lengths


def note_nan(remarks: list[str], who: str, texts: list[list[int]], answers: NDArray[Any]) -> None:
    """Note the first text to which PyTorch itself answers NaN: the graphs do, too, and the server says it is an error.

    Args:
        remarks: gets at most one sentence of this kind.
        who: the user's module.
        texts: token ids of each row.
        answers: PyTorch's, float [rows, ...].
    """
    is_nan = np.isnan(answers).reshape(len(answers), -1).any(axis=1)
    if is_nan.any() and not any(_NAN in remark for remark in remarks):
        ids = min((text for text, is_bad in zip(texts, is_nan, strict=True) if is_bad), key=len)
        shown = ", ".join(map(str, ids[:8])) + (", ..." if len(ids) > 8 else "")
        remarks.append(
            f"{who} {_NAN} for the text of the ids {shown}, so such a text is answered with an error. Often 0 is "
            "divided by 0, or a softmax is over -inf alone: clamp(min=1) what is divided by."
        )


def error_figures(errors: Errors, agreements: list[NDArray[np.bool_]], num_left: int) -> dict[str, float]:
    """The figures of UserModel.errors.

    Args:
        errors: what was compared.
        agreements: whether the likeliest is PyTorch's, bool [any] each.
        num_left: batches of texts that were not compared, because those before took too long.
    """
    return {
        "worst_error": errors.worst,
        "mean_error": errors.mean,
        "argmax_agreement": float(np.concatenate(agreements).mean()),
        **({NOT_COMPARED: num_left} if num_left else {}),
    }
