"""One request as the engine of a model without a state sees it: texts as token ids, and one answer for each."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.engine.outputs import OutputQueue, Times


class TextResult(NamedTuple):
    """The answer to one text.

    Attributes:
        number: which text of the request.
        logits: float32, the text's row of the graph's logits: [C], or [length, C] for a graph with logits in time.
    """

    number: int
    logits: NDArray[np.float32]


@dataclass(eq=False, slots=True)
class Text:
    """One text of a request.

    Attributes:
        outputs: the request's.
        times: the request's.
        tokens: its ids, at least one.
        number: its index in the request.
    """

    outputs: OutputQueue[TextResult]
    times: Times
    tokens: list[int]
    number: int


@dataclass(eq=False, slots=True)
class TextBatch:
    """One request; see EngineRequest.

    Attributes:
        items: its texts.
        outputs: where its outputs go.
        times: when things happened to it.
    """

    items: list[Text] = field(default_factory=list)
    outputs: OutputQueue[TextResult] = field(default_factory=OutputQueue)
    times: Times = field(default_factory=Times)

    def add_text(self, tokens: list[int]) -> None:
        """Add a text of at least one token."""
        self.items.append(Text(self.outputs, self.times, tokens, len(self.items)))
