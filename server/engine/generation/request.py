"""One request for text as the engine sees it: prompts as token ids, and a continuation for each row."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.continuation import Continuation, FinishReason, PlacedLogprob
from models.decoding.options import GenerationOptions
from server.engine.outputs import OutputQueue, Times


class TextOutput(NamedTuple):
    """What is new of one continuation. A tuple, because one is made for each event of each stream.

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

    def after(self, before: "TextOutput") -> "TextOutput":
        """Both as one: an output and the one before it, of the same continuation."""
        return self._replace(text=before.text + self.text, logprobs=before.logprobs + self.logprobs)


@dataclass(eq=False, slots=True)
class Prompt:
    """One prompt of a request; see EngineItem.

    Attributes:
        options: the request's.
        seed: the request's, given or made.
        is_streamed: whether text is sent as it comes; otherwise each continuation's text comes once, at its end.
        outputs: the request's.
        times: the request's.
        tokens: int64 [length], its ids.
        first_index: the index in the answer of its first choice.
        continuations: one for each choice.
        state: float32 [D], after `num_read` tokens, not to be changed; None for the initial state.
        num_read: tokens that `state` has read. When the prompt is submitted with some, the prefix cache is not used.
        keeps_state: whether `state` after all tokens but the last is left for the caller; one row.
        keeps_last_state: whether `last_state` is, too.
        last_state: float32 [D], after the prompt and the whole tokens of its answer but the last one.
        num_cached: tokens that were in the prefix cache; the engine's.
        lane: the engine's.
    """

    options: GenerationOptions
    seed: int
    is_streamed: bool
    outputs: OutputQueue[TextOutput]
    times: Times
    tokens: NDArray[np.int64]
    first_index: int
    continuations: list[Continuation]
    state: NDArray[np.float32] | None = None
    num_read: int = 0
    keeps_state: bool = False
    keeps_last_state: bool = False
    last_state: NDArray[np.float32] | None = None
    num_cached: int = 0
    lane: Any = None

    @property
    def num_rows(self) -> int:
        """Rows that it takes."""
        return len(self.continuations)


@dataclass(eq=False, slots=True)
class Generation:
    """One request; see EngineRequest.

    Attributes:
        options: its options.
        seed: the seed, given or made.
        is_streamed: see Prompt.
        items: its prompts, filled in once.
        outputs: where its outputs go.
        times: when things happened to it.
    """

    options: GenerationOptions
    seed: int
    is_streamed: bool
    items: list[Prompt] = field(default_factory=list)
    outputs: OutputQueue[TextOutput] = field(default_factory=OutputQueue)
    times: Times = field(default_factory=Times)

    @property
    def num_cached(self) -> int:
        """Tokens of its prompts that were in the prefix cache."""
        return sum(prompt.num_cached for prompt in self.items)

    def add_prompt(self, tokens: list[int], continuations: list[Continuation]) -> None:
        """Add a prompt of at least one token and its continuations, one for each of the n choices."""
        self.items.append(self._prompt(np.array(tokens, np.int64), continuations))

    def resume(
        self,
        tokens: NDArray[np.int64],
        continuation: Continuation,
        state: NDArray[np.float32] | None = None,
        num_read: int = 0,
        *,
        keeps_last_state: bool = True,
    ) -> Prompt:
        """Add one prompt for one row, the beginning of which may have been read, and whose states are kept.

        Args:
            tokens: int64 [length], all of it from the first token of the text on, at least one more than num_read.
            continuation: of the row.
            state: float32 [D], not to be changed, after the first num_read tokens.
            num_read: 0 begins anew.
            keeps_last_state: see Prompt.

        Returns:
            The prompt.
        """
        prompt = self._prompt(tokens, [continuation])
        prompt.state, prompt.num_read, prompt.keeps_state = state if num_read else None, num_read, True
        prompt.keeps_last_state = keeps_last_state
        self.items.append(prompt)
        return prompt

    def _prompt(self, tokens: NDArray[np.int64], continuations: list[Continuation]) -> Prompt:
        first_index = len(self.items) * self.options.n
        return Prompt(
            self.options, self.seed, self.is_streamed, self.outputs, self.times, tokens, first_index, continuations
        )
