"""One request for text as the engine sees it: prompts as token ids, and a continuation for each row."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.continuation import Continuation
from models.decoding.options import GenerationOptions
from server.engine.generation.scheduler import Sequence
from server.engine.generation.update import Update
from server.engine.mailbox import Mailbox
from server.engine.times import Times


@dataclass(eq=False, slots=True)
class Prompt:
    """One prompt of a request.

    Attributes:
        generation: the request.
        tokens: int64 [length], its ids.
        first_index: the index in the answer of its first choice.
        continuations: one for each choice.
        state: float32 [D], after the tokens that are prefilled, not to be changed; None before the first and once all
            rows have it.
        num_read: tokens that `state` has read when the request is submitted; such a prompt is not looked up among
            those read before, and not kept with them.
        keeps_state: whether `state`, after all tokens but the last, is left there for the caller; for one row.
        last_state: float32 [D], if it is kept: after the row's tokens but the last one that it chose; set by its end.
    """

    generation: "Generation"
    tokens: NDArray[np.int64]
    first_index: int
    continuations: list[Continuation]
    state: NDArray[np.float32] | None = None
    num_read: int = 0
    keeps_state: bool = False
    last_state: NDArray[np.float32] | None = None


class Report(NamedTuple):
    """What the engine has found out about a request.

    Attributes:
        times: its times.
        num_cached: tokens of its prompts that were known already.
        kept: of a prompt whose states are kept, once it is over: `state`, `last_state`, and its continuation.
    """

    times: Times
    num_cached: int
    kept: tuple[NDArray[np.float32] | None, NDArray[np.float32] | None, Continuation] | None


@dataclass(eq=False, slots=True, weakref_slot=True)
class Generation:
    """One request.

    Attributes:
        options: its options.
        seed: the seed, given or made.
        is_streamed: whether text is wanted as it comes; otherwise each continuation's text comes once, at its end.
        prompts: filled in once.
        mailbox: where its news go.
        sequences: the engine's.
        num_cached: tokens of its prompts that were known already; the engine's.
        num_open: continuations that go on; the engine's.
        times: the engine's.
    """

    options: GenerationOptions
    seed: int
    is_streamed: bool
    prompts: list[Prompt] = field(default_factory=list)
    mailbox: Mailbox[Update] = field(default_factory=Mailbox)
    sequences: list[Sequence[Prompt]] = field(default_factory=list)
    num_cached: int = 0
    num_open: int = 0
    times: Times = field(default_factory=Times)

    def add_prompt(self, tokens: list[int], continuations: list[Continuation]) -> None:
        """Add a prompt of at least one token and its continuations, one for each of the n choices."""
        first_index = len(self.prompts) * self.options.n
        self.prompts.append(Prompt(self, np.array(tokens, np.int64), first_index, continuations))

    def resume(
        self,
        tokens: NDArray[np.int64],
        continuation: Continuation,
        state: NDArray[np.float32] | None = None,
        num_read: int = 0,
    ) -> Prompt:
        """Add one prompt for one row, the beginning of which may have been read, and whose states are kept.

        Args:
            tokens: int64 [length], all of it from the first token of the text on, at least one more than num_read.
            continuation: of the row.
            state: float32 [D], not to be changed, after the first num_read tokens.
            num_read: 0 begins anew.

        Returns:
            The prompt.
        """
        first_index = len(self.prompts) * self.options.n
        prompt = Prompt(self, tokens, first_index, [continuation], state if num_read else None, num_read, True)
        self.prompts.append(prompt)
        return prompt

    def report(self) -> Report:
        """See EngineRequest."""
        kept = None
        if self.prompts[0].keeps_state and not self.num_open:
            (prompt,) = self.prompts
            kept = (prompt.state, prompt.last_state, prompt.continuations[0])
        return Report(self.times, self.num_cached, kept)

    def heed(self, report: Report) -> None:
        """See EngineRequest."""
        self.times, self.num_cached, kept = report
        if kept is not None:
            (prompt,) = self.prompts
            prompt.state, prompt.last_state, prompt.continuations[0] = kept
