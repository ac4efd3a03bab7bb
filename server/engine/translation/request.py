"""One request for translations as the engine sees it: sources as token ids, and a search for each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.beam_search import BeamSearch, Hypothesis
from models.decoding.options import TranslationOptions
from models.decoding.sampling_rows import sampling_row
from runtime.runner import Array
from server.engine.mailbox import Mailbox
from server.engine.times import Times
from server.engine.translation.scheduler import Text


class Progress(NamedTuple):
    """News of one source.

    Attributes:
        number: which source of the request.
        ids: target tokens that are new, where they are told as they come: never the end token.
        attention: float32 [source_length] for each of them, where it is kept.
        results: what the search found, best first, once it is over; None while it goes on.
    """

    number: int
    ids: tuple[int, ...]
    attention: tuple[NDArray[np.float32], ...]
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
    """One source of a request.

    Attributes:
        translation: the request.
        tokens: its ids, the end token last.
        number: its place in the request.
        search: the hypotheses.
        sampling: how its tokens are drawn, dtype ROW [1], at its first position; None where the likeliest are taken.
        encoded: from the encode call until its first step; the engine's.
    """

    translation: "Translation"
    tokens: list[int]
    number: int
    search: BeamSearch
    sampling: NDArray[np.void] | None = None
    encoded: Encoded | None = None


@dataclass(eq=False, slots=True, weakref_slot=True)
class Translation:
    """One request.

    Attributes:
        options: its options.
        seed: of what is drawn, given or made.
        is_streamed: whether tokens are told as they come; for beams of 1.
        keeps_attention: whether results and streamed tokens carry their attention.
        sources: filled in once.
        mailbox: where its news go.
        texts: the engine's.
        num_open: sources whose search goes on; the engine's.
        times: the engine's.
    """

    options: TranslationOptions
    seed: int
    is_streamed: bool
    keeps_attention: bool
    sources: list[Source] = field(default_factory=list)
    mailbox: Mailbox[Progress] = field(default_factory=Mailbox)
    texts: list[Text[Source]] = field(default_factory=list)
    num_open: int = 0
    times: Times = field(default_factory=Times)

    def add_source(self, tokens: list[int], end_id: int) -> None:
        """Add a source.

        Args:
            tokens: its ids, the end token last.
            end_id: the end token's id.
        """
        search = BeamSearch(self.options, end_id=end_id, source_length=len(tokens), keep_attention=self.keeps_attention)
        drawing = self.options.sampling
        # The same numbers for every source, so that a text among others is translated as it is alone.
        sampling = None if drawing is None else sampling_row(drawing, seed=self.seed, choice=0, position=0)
        self.sources.append(Source(self, tokens, len(self.sources), search, sampling))

    def report(self) -> Times:
        """See EngineRequest."""
        return self.times

    def heed(self, report: Times) -> None:
        """See EngineRequest."""
        self.times = report
