"""By how much an answer changes that should be the same: as a number, and in how many rows to the bit."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from export.parity.errors import Errors

Floats = NDArray[np.float32]

# What a figure means when it is too large. The order is that of the reasons: chunks fail where padding does, too.
REASONS = {
    "worst_change_by_padding": "The answer changes with what stands past a text's end, so the forward ignores lengths "
    "somewhere: pack the sequence (pack_padded_sequence with the lengths, enforce_sorted=False), or mask what is past "
    "them before every sum, mean, maximum and softmax over time. Where it leaves out some ids (padding, unknown "
    "words), a text of nothing else must not fall back on what is past its end: a softmax over -1e9 alone is a mean "
    "over everything.",
    "worst_change_by_batch": "The answer for a row changes with the other rows of its batch (batch normalisation in "
    "training mode, a sum over the batch).",
    "worst_change_by_chunks": "A prompt read in pieces gives another answer than in one, so the forward looks at more "
    "of the text than its states hold (a convolution, attention over the prompt, a direction backwards, positions "
    "counted from each call's beginning). Put what it needs into a state of fixed size.",
    "worst_step_against_whole": "Tokens read one by one give another answer than at once, so the forward looks at more "
    "of the text than its states hold.",
    "worst_attention_fault": "The attention is no set of shares over each source's own positions.",
    "worst_error": "Something in the forward was decided while it was traced (an if on a size or a value, a number "
    "made of a tensor).",
}


class Changes:
    """Compares what should be the same, row by row."""

    def __init__(self) -> None:
        self._errors = Errors(least=1.0)
        self.num_rows = 0  # that differ in any bit

    @property
    def worst(self) -> float:
        """The largest difference, relative to the largest magnitude or 1; infinite once one was not finite."""
        return self._errors.worst

    def add(self, pairs: Iterable[tuple[Floats, Floats]]) -> None:
        """One row's answers: pairs of arrays of one shape."""
        is_other = False
        for found, expected in pairs:
            self._errors.add(found, expected)
            is_other = is_other or not np.array_equal(found, expected)
        self.num_rows += is_other

    def add_rows(self, found: dict[str, Floats], expected: dict[str, Floats]) -> None:
        """Many rows' answers: arrays by name, each [rows, ...]."""
        for row in range(len(next(iter(expected.values())))):
            self.add([(found[name][row], expected[name][row]) for name in expected])


def reason_of(failure: str) -> str:
    """What a report's failure means, by the first of REASONS that it names; "" when it names none."""
    return next((reason for name, reason in REASONS.items() if name in failure), "")
