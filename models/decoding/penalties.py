"""Logits changed before a token is chosen: what a token that is there already loses, and what a caller adds.

For each row, in this order:

    repetition_penalty r  of tokens in the prompt or the answer: logit / r where it is positive, logit * r where not
                          (Keskar et al. 2019, section 4.1)
    frequency_penalty f   logit - f * count, the token's count in the answer
    presence_penalty p    logit - p where the count is not 0
    logit_bias            logit + bias

All is elementwise, so a row's numbers do not depend on what else is in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.decoding.options import GenerationOptions

_LEAST_REPETITION = 1e-6  # one below it counts as this, so that quotients of logits do not overflow


@dataclass(eq=False, slots=True)
class PenaltyRow:
    """What one row needs.

    Attributes:
        repetition: r.
        frequency: f.
        presence: p.
        seen: bool [V], tokens of the prompt and the answer so far.
        counts: float32 [V], how often each is in the answer so far.
        bias: float32 [V].
    """

    repetition: float
    frequency: float
    presence: float
    seen: NDArray[np.bool_]
    counts: NDArray[np.float32]
    bias: NDArray[np.float32]


def penalty_row(options: GenerationOptions, prompt: NDArray[np.int64], vocab_size: int) -> PenaltyRow | None:
    """The row of a new continuation, or None when nothing changes its logits.

    Args:
        options: the request's.
        prompt: int64 [length], its token ids.
        vocab_size: V; every id of options.logit_bias is below it.
    """
    if not options.changes_logits:
        return None
    values = (max(options.repetition_penalty, _LEAST_REPETITION), options.frequency_penalty, options.presence_penalty)
    seen = np.zeros(vocab_size, np.bool_)
    seen[prompt] = True
    bias = np.zeros(vocab_size, np.float32)
    bias[list(options.logit_bias)] = list(options.logit_bias.values())
    return PenaltyRow(*values, seen, np.zeros(vocab_size, np.float32), bias)


class Penalties:
    """Of the rows of a batch that have any.

    Args:
        rows: of the batch, None for those without. What they hold belongs to this object until another is made of
            them.
    """

    def __init__(self, rows: Sequence[PenaltyRow | None]) -> None:
        self.rows = list(rows)
        present = [(i, row) for i, row in enumerate(rows) if row is not None]
        self._which = np.array([i for i, _ in present], np.int64)
        if not present:
            return
        own = [row for _, row in present]
        self._repetition, self._frequency, self._presence = (
            np.array([[getattr(row, name)] for row in own], np.float32)
            for name in ("repetition", "frequency", "presence")
        )
        self._seen, self._counts, self._bias = (
            np.stack([getattr(row, name) for row in own]) for name in ("seen", "counts", "bias")
        )
        for i, row in enumerate(own):
            row.seen, row.counts, row.bias = self._seen[i], self._counts[i], self._bias[i]

    def applied(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits after penalties and biases, float32 [n, V]; the argument itself when no row has any."""
        if not len(self._which):
            return logits
        changed = logits.copy()
        with np.errstate(all="ignore"):  # what is not finite is the sampler's to mark
            some = changed[self._which]
            penalised = np.where(some > 0, some / self._repetition, some * self._repetition)
            some = np.where(self._seen, penalised, some)
            some -= self._frequency * self._counts
            some -= self._presence * (self._counts > 0)
            some += self._bias
        changed[self._which] = some
        return changed

    def note(self, tokens: NDArray[np.int64]) -> None:
        """Count the tokens that were chosen, int64 [n]; negative ones are no tokens."""
        if not len(self._which):
            return
        chosen = tokens[self._which]
        (where,) = np.nonzero(chosen >= 0)
        self._seen[where, chosen[where]] = True
        self._counts[where, chosen[where]] += 1
