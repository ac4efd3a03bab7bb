"""News of one continuation, as the engine tells them."""

from typing import NamedTuple

from models.decoding.continuation import FinishReason, PlacedLogprob


class Update(NamedTuple):
    """News of one continuation. A tuple, because one is made for each token of each stream.

    Attributes:
        choice: which choice of the answer, p * n + k.
        text: what is new.
        finish_reason: None while it goes on.
        stop_reason: the stop string that ended it, or None.
        num_tokens: tokens generated so far.
        logprobs: of the tokens whose text is new, where they are wanted.
    """

    choice: int
    text: str
    finish_reason: FinishReason | None
    stop_reason: str | None
    num_tokens: int
    logprobs: tuple[PlacedLogprob, ...] = ()

    def after(self, before: "Update") -> "Update":
        """Both as one: an update and the one before it, of the same continuation."""
        return self._replace(text=before.text + self.text, logprobs=before.logprobs + self.logprobs)
