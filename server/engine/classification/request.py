"""One request as the engine of a model without a state sees it: texts as token ids, and one answer for each."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.engine.request import EngineRequest


class TextResult(NamedTuple):
    """The answer to one text.

    Attributes:
        number: which text of the request.
        logits: float32, the text's row of the graph's logits: [C], or [length, C] for a graph with logits in time.
    """

    number: int
    logits: NDArray[np.float32]


@dataclass(eq=False, slots=True)
class TextBatch(EngineRequest["Text", TextResult]):
    """One request; its items are texts."""

    def add_text(self, tokens: list[int]) -> None:
        """Add a text of at least one token."""
        self.items.append(Text(self, tokens, len(self.items)))


@dataclass(eq=False, slots=True)
class Text:
    """One text of a request.

    Attributes:
        request: that it belongs to.
        tokens: its ids, at least one.
        number: its index in the request.
    """

    request: TextBatch
    tokens: list[int]
    number: int

    @property
    def num_tokens(self) -> int:
        """See EngineRequest."""
        return len(self.tokens)
