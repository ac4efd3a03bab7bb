"""What a user's method must give as logits; probabilities and wrong shapes are reported by name."""

from typing import Any

import torch
from torch import Tensor

from models.errors import ExportError, UnsupportedModelError

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
            "is divided by 0, or a softmax is over -inf alone: clamp(min=1) what is divided by, and ban by -1e9."
        )
    sums = value.sum(-1)
    is_share = bool((value >= 0).all()) and bool((sums - 1).abs().max() < _SUM_TOLERANCE)
    if is_share and value.shape[-1] > 1:
        raise UnsupportedModelError(
            f"{who} gives probabilities: every row is positive and sums to 1. Give the logits before the softmax, "
            "or their log_softmax."
        )
    return value


def check_num_logits(who: str, num_logits: int, vocab_size: int) -> None:
    """Refuse logits that are not one for each token.

    Args:
        who: the method, for messages.
        num_logits: that it gives.
        vocab_size: tokens of the tokenizer.

    Raises:
        ExportError: with the way round.
    """
    if num_logits == vocab_size:
        return
    advice = "Each token needs one: wrap the tokenizer that the model was trained with."
    if is_padded(num_logits, vocab_size):
        advice = (
            f"The last {num_logits - vocab_size} look like padding of the vocabulary, and one of them could be chosen "
            f"as a token: cut them off in the forward, logits[..., :{vocab_size}]. The embedding may stay as it is."
        )
    raise ExportError(f"The tokenizer has {vocab_size} tokens, {who} gives {num_logits} logits. {advice}")


def is_padded(size: int, vocab_size: int) -> bool:
    """Whether a number of rows is a vocabulary's, rounded up to a multiple of a power of two from 8 to 128."""
    return any(size % multiple == 0 and 0 < size - vocab_size < multiple for multiple in (8, 16, 32, 64, 128))
