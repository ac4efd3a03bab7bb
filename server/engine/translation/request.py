"""One request for translations as the engine sees it: sources as token ids."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.beam_search import Hypothesis
from models.decoding.options import TranslationOptions
from runtime.runner import Array
from server.engine.outputs import OutputQueue, Times


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
class Source:
    """One source of a request; see EngineItem.

    Attributes:
        options: the request's.
        seed: of what is sampled, given or made.
        is_streamed: whether tokens are sent as they come; for beams of 1.
        keeps_attention: whether results and streamed tokens carry their attention.
        outputs: the request's.
        times: the request's.
        tokens: its ids, the end token last.
        end_id: the end token's id.
        number: its index in the request.
        encoded: from the encode call until it joins; the engine's.
        lane: the engine's.
    """

    options: TranslationOptions
    seed: int
    is_streamed: bool
    keeps_attention: bool
    outputs: OutputQueue[TranslationOutput]
    times: Times
    tokens: list[int]
    end_id: int
    number: int
    encoded: Encoded | None = None
    lane: Any = None

    @property
    def num_rows(self) -> int:
        """Rows that it takes."""
        return self.options.beam_size


@dataclass(eq=False, slots=True)
class Translation:
    """One request; see EngineRequest.

    Attributes:
        options: its options.
        seed: see Source.
        is_streamed: see Source.
        keeps_attention: see Source.
        items: its sources, filled in once.
        outputs: where its outputs go.
        times: when things happened to it.
    """

    options: TranslationOptions
    seed: int
    is_streamed: bool
    keeps_attention: bool
    items: list[Source] = field(default_factory=list)
    outputs: OutputQueue[TranslationOutput] = field(default_factory=OutputQueue)
    times: Times = field(default_factory=Times)

    def add_source(self, tokens: list[int], end_id: int) -> None:
        """Add a source.

        Args:
            tokens: its ids, the end token last.
            end_id: the end token's id.
        """
        self.items.append(
            Source(
                self.options,
                self.seed,
                self.is_streamed,
                self.keeps_attention,
                self.outputs,
                self.times,
                tokens,
                end_id,
                len(self.items),
            )
        )
