"""Global attention as functions of their arguments: nothing is kept between calls.

Scores compare each query with each source position's key; the keys depend on the source alone and are computed once.
"""

import torch
from torch import Tensor

MASKED = -1e9  # a score whose weight is exactly 0 in float32, and not -inf, so that a row is never 0 / 0


def additive_scores(query: Tensor, keys: Tensor, vector: Tensor) -> Tensor:
    """V . tanh(W q + U m), Bahdanau et al. 2015, appendix A.1.2.

    Args:
        query: float [batch, queries, A], W q.
        keys: float [batch, source, A], U m.
        vector: float [A], v.

    Returns:
        float [batch, queries, source].
    """
    return torch.matmul(torch.tanh(query.unsqueeze(2) + keys.unsqueeze(1)), vector)


def multiplicative_scores(query: Tensor, keys: Tensor) -> Tensor:
    """Q . W m, Luong et al. 2015, section 3.1, "general".

    Args:
        query: float [batch, queries, A].
        keys: float [batch, source, A], W m.

    Returns:
        float [batch, queries, source].
    """
    return torch.matmul(query, keys.transpose(1, 2))


def attention_weights(scores: Tensor, lengths: Tensor) -> Tensor:
    """Softmax over each row's own source positions.

    Args:
        scores: float [batch, queries, source].
        lengths: int [batch], each 1..source.

    Returns:
        float [batch, queries, source], rows that sum to 1, exactly 0 past lengths[i].
    """
    positions = torch.arange(scores.shape[-1], device=scores.device, dtype=lengths.dtype)
    is_valid = positions.unsqueeze(0) < lengths.unsqueeze(1)
    return torch.softmax(torch.where(is_valid.unsqueeze(1), scores, MASKED), dim=-1)


def context_vectors(weights: Tensor, memory: Tensor) -> Tensor:
    """Sums of the memory by weight.

    Args:
        weights: float [batch, queries, source].
        memory: float [batch, source, M]; finite everywhere.

    Returns:
        float [batch, queries, M].
    """
    return torch.matmul(weights, memory)
