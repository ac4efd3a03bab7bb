"""One request for translations as the engine sees it: sources as token ids."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.beam_search import Hypothesis, max_tokens_of
from models.decoding.options import TranslationOptions
from runtime.runner import Array
from server.engine.request import EngineRequest, ScheduledItem


class TranslationOutput(NamedTuple):
    """What is new of one source.

    Attributes:
        number: which source of the request.
        ids: target tokens that are new, where they are streamed: never the end token.
        attention: float32 [len(ids), source_length], where it is kept; otherwise None.
        results: what the search found, best first, once it is over; None while it goes on.
    """

    number: int
    ids: list[int]
    attention: NDArray[np.float32] | None
    results: list[Hypothesis] | None


class Encoded(NamedTuple):
    """What the encoder made of one source.

    Attributes:
        memory: by name, "memory" float32 [S, M] and "keys" float32 [S, A], without padding.
        state: float32 [D], the decoder's first state.
    """

    memory: Mapping[str, Array]
    state: NDArray[np.float32]


@dataclass(eq=False, slots=True)
class Translation(EngineRequest["Source", TranslationOutput]):
    """One request.

    Attributes:
        options: its options.
        seed: of what is sampled, given or made.
        is_streamed: whether tokens are sent as they come; for beams of 1.
        keeps_attention: whether results and streamed tokens carry their attention.
    """

    options: TranslationOptions
    seed: int
    is_streamed: bool
    keeps_attention: bool

    def add_source(self, tokens: list[int], end_id: int, longest: int | None = None) -> None:
        """Add a source.

        Args:
            tokens: its ids, the end token last.
            end_id: the end token's id.
            longest: tokens of the longest translation that the model was trained on, where that is known.
        """
        self.items.append(
            Source(
                request=self,
                num_prefill=len(tokens),
                width=self.options.beam_size,
                tokens=tokens,
                end_id=end_id,
                max_tokens=max_tokens_of(self.options, len(tokens), longest),
                number=len(self.items),
            )
        )


@dataclass(eq=False, slots=True, kw_only=True)
class Source(ScheduledItem):
    """One source of a request.

    Attributes:
        tokens: its ids, the end token last.
        end_id: the end token's id.
        max_tokens: the most of its translation, the end token counted.
        number: its index in the request.
        encoded: from the encode call until it joins; the engine's.
    """

    request: Translation
    tokens: list[int]
    end_id: int
    max_tokens: int
    number: int
    encoded: Encoded | None = None

    def take_encoded(self) -> Encoded:
        """What the encoder made of it; it is not kept here any longer."""
        assert self.encoded is not None, "a row joins once its source is encoded"
        encoded, self.encoded = self.encoded, None
        return encoded

    @property
    def num_tokens(self) -> int:
        """See EngineRequest."""
        return len(self.tokens) + self.width * self.max_tokens
