"""What a user's method must give as logits; probabilities and wrong shapes are reported by name."""

from typing import Any

import torch
from torch import Tensor

from models.errors import UnsupportedModelError

_SUM_TOLERANCE = 1e-3


def check_logits(who: str, value: Any, allowed: dict[int, str], batch: int) -> Tensor:
    """The value, if it can be logits.

    Args:
        who: the method, for messages.
        value: what it gave.
        allowed: number of axes -> how that shape is called.
        batch: rows that it was asked for.

    Raises:
        UnsupportedModelError: it is no float32 tensor of an allowed shape, or holds NaN or probabilities.
    """
    shapes = " or ".join(allowed.values())
    if not isinstance(value, Tensor):
        raise UnsupportedModelError(f"{who} gives {type(value).__name__} for logits; give a float32 tensor {shapes}.")
    if value.dim() not in allowed or value.shape[0] != batch or value.dtype != torch.float32:
        dtype = str(value.dtype).removeprefix("torch.")
        raise UnsupportedModelError(
            f"{who} gives logits {dtype}{list(value.shape)} for a batch of {batch}; give float32 {shapes}, batch first."
        )
    if bool(value.isnan().any()):
        raise UnsupportedModelError(
            f"{who} gives NaN for random texts, in {int(value.isnan().sum())} of {value.numel()} logits. Most often 0 "
            "is divided by 0, or -inf stands in a whole row of a softmax: clamp(min=1) a number that is divided by, and "
            "ban by -1e9."
        )
    sums = value.sum(-1)
    is_share = bool((value >= 0).all()) and bool((sums - 1).abs().max() < _SUM_TOLERANCE)
    if is_share and value.shape[-1] > 1:
        raise UnsupportedModelError(
            f"{who} gives probabilities: every row is positive and sums to 1. Give the logits before the softmax, "
            "or their log_softmax."
        )
    return value
