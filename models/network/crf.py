"""The loss of a linear-chain conditional random field (Lafferty et al. 2001; Lample et al. 2016, section 2.2)."""

import torch
from torch import Tensor


def negative_log_likelihood(
    emissions: Tensor, transitions: Tensor, allowed: Tensor, labels: Tensor, lengths: Tensor
) -> Tensor:
    """Of each sentence -ln of its labels' share among all sequences of labels.

    Args:
        emissions: float [batch, time, C]; what lies past lengths[i] is ignored.
        transitions: float [C + 1, C + 1], in nats; row C is a sentence's beginning, column C its end.
        allowed: bool [C + 1, C + 1], which of them there are (models.crf.allowed_transitions).
        labels: int64 [batch, time]; what lies past lengths[i] is ignored. Each transition of theirs is allowed.
        lengths: int [batch], each 1..time.

    Returns:
        float [batch].
    """
    scores = transitions.masked_fill(~allowed, float("-inf"))
    inner, first, last = scores[:-1, :-1], scores[-1, :-1], scores[:-1, -1]
    is_token = torch.arange(emissions.shape[1], device=emissions.device) < lengths.unsqueeze(1)
    given = labels.masked_fill(~is_token, 0)
    own = emissions.gather(2, given.unsqueeze(2)).squeeze(2)
    steps = inner[given[:, :-1], given[:, 1:]]
    ends = given.gather(1, lengths.long().unsqueeze(1) - 1).squeeze(1)
    score = first[given[:, 0]] + last[ends]
    score = score + own.where(is_token, 0).sum(1) + steps.where(is_token[:, 1:], 0).sum(1)
    forward = first + emissions[:, 0]
    for t in range(1, emissions.shape[1]):
        after = torch.logsumexp(forward.unsqueeze(2) + inner, dim=1) + emissions[:, t]
        forward = torch.where(is_token[:, t].unsqueeze(1), after, forward)
    return torch.logsumexp(forward + last, dim=1) - score
