"""One request for text as the engine sees it: prompts as token ids, and a continuation for each row."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.continuation import Continuation, FinishReason, PlacedLogprobs
from models.decoding.options import GenerationOptions
from server.engine.request import EngineRequest, ScheduledItem


class TextOutput(NamedTuple):
    """What is new of one continuation. A tuple, because one is made for each event of each stream.

    Attributes:
        choice_index: which choice of the answer: prompt p's k-th of n is p * n + k.
        text: what is new.
        finish_reason: None while it goes on.
        stop_reason: the stop string that ended it, or None.
        num_tokens: tokens generated so far.
        logprobs: of the tokens whose text is new, where they are wanted.
    """

    choice_index: int
    text: str
    finish_reason: FinishReason | None
    stop_reason: str | None
    num_tokens: int
    logprobs: PlacedLogprobs | None = None

    def merged_with_previous(self, previous: "TextOutput") -> "TextOutput":
        """One output of this one and the previous one of the same continuation."""
        logprobs = self.logprobs or previous.logprobs
        if self.logprobs is not None and previous.logprobs is not None:
            logprobs = previous.logprobs.followed_by(self.logprobs)
        return self._replace(text=previous.text + self.text, logprobs=logprobs)


class Beam(NamedTuple):
    """How the likeliest continuations are searched for, instead of drawing some.

    Attributes:
        size: hypotheses that live at once.
        num_wanted: how many continuations come of a prompt, at most `size`.
        length_penalty: see models.decoding.beam_search.
    """

    size: int
    num_wanted: int
    length_penalty: float


@dataclass(eq=False, slots=True)
class Generation(EngineRequest["Prompt", TextOutput]):
    """One request.

    Attributes:
        options: its options.
        seed: the seed, given or made.
        is_streamed: whether text is sent as it comes; otherwise each continuation's text comes once, at its end.
        beam: how the continuations are searched for; None where they are drawn. Of the options a search looks at
            max_tokens and min_tokens alone, and it is not streamed.
    """

    options: GenerationOptions
    seed: int
    is_streamed: bool
    beam: Beam | None = None

    @property
    def num_cached(self) -> int:
        """Tokens of its prompts that were in the prefix cache."""
        return sum(prompt.num_cached for prompt in self.items)

    def add_prompt(self, tokens: list[int], continuations: list[Continuation]) -> None:
        """Add a prompt of at least one token and its continuations, one for each of the n choices."""
        self._add(np.array(tokens, np.int64), continuations)

    def add_resumed_prompt(
        self,
        tokens: NDArray[np.int64],
        continuation: Continuation,
        state: NDArray[np.float32] | None = None,
        num_read: int = 0,
        *,
        keeps_last_state: bool = True,
    ) -> "Prompt":
        """Add one prompt for one row, the beginning of which may have been read, and whose states are kept.

        Args:
            tokens: int64 [length], all of it from the first token of the text on, at least one more than num_read.
            continuation: of the row.
            state: float32 [D], not to be changed, after the first num_read tokens.
            num_read: 0: the prompt is read from its first token.
            keeps_last_state: see Prompt.

        Returns:
            The prompt.
        """
        prompt = self._add(tokens, [continuation])
        prompt.state, prompt.num_read, prompt.keeps_state = state if num_read else None, num_read, True
        prompt.keeps_last_state = keeps_last_state
        return prompt

    def _add(self, tokens: NDArray[np.int64], continuations: list[Continuation]) -> "Prompt":
        prompt = Prompt(
            request=self,
            num_prefill=len(tokens) - 1,
            num_rows=len(continuations) if self.beam is None else 1,
            width=1 if self.beam is None else self.beam.size,
            tokens=tokens,
            first_index=len(self.items) * self.options.n,
            continuations=continuations,
        )
        self.items.append(prompt)
        return prompt


@dataclass(eq=False, slots=True, kw_only=True)
class Prompt(ScheduledItem):
    """One prompt of a request. When it is submitted with num_read > 0, the prefix cache is not used.

    Attributes:
        tokens: int64 [length], its ids.
        first_index: the index in the answer of its first choice.
        continuations: one for each choice.
        state: float32 [D], after `num_read` tokens, not to be changed; None for the initial state.
        keeps_state: whether `state` after all tokens but the last is left for the caller; one row.
        keeps_last_state: whether `last_state` is, too.
        last_state: float32 [D], after the prompt and the whole tokens of its answer but the last one.
        num_cached: tokens that were in the prefix cache; the engine's.
        given: int64 [n], the first tokens of the answer of its one choice: they are not chosen, only found as likely as
            they are.
    """

    request: Generation
    tokens: NDArray[np.int64]
    first_index: int
    continuations: list[Continuation]
    state: NDArray[np.float32] | None = None
    keeps_state: bool = False
    keeps_last_state: bool = False
    last_state: NDArray[np.float32] | None = None
    num_cached: int = 0
    given: NDArray[np.int64] | None = None

    @property
    def num_tokens(self) -> int:
        """See EngineRequest."""
        options = self.request.options
        num_rows = self.num_rows if self.request.beam is None else self.request.beam.size
        return len(self.tokens) - self.num_read + num_rows * options.max_tokens * (1 + (options.logprobs or 0))
