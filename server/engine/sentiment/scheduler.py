"""Which texts are classified together. Pure: no clock, no arrays, no threads, no asyncio.

Whenever the runtime is free, the text whose turn it is goes, and with it what waits and is of like length, up to a
budget of padded tokens. Nobody waits for a batch to fill. Requests take turns.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from server.engine.alike import alike
from server.engine.line import Line

_LOOKED_AT = 1024  # waiting texts that are compared for their length

Owner = TypeVar("Owner")


@dataclass(eq=False, slots=True)
class Text(Generic[Owner]):
    """One text.

    Attributes:
        owner: whatever the caller wants to find again; the scheduler does not look at it.
        num_tokens: its tokens, at least 1.
        group: the request that it belongs to, whatever tells requests apart.
    """

    owner: Owner
    num_tokens: int
    group: Hashable


@dataclass(frozen=True, slots=True)
class Classify(Generic[Owner]):
    """A call that classifies texts."""

    texts: list[Text[Owner]]


class Scheduler(Generic[Owner]):
    """Decides call by call.

    Args:
        max_rows: texts of one call.
        classify_tokens: padded tokens of one call; a longer text goes alone.

    Attributes:
        num_waiting: texts that have not been in a call.
    """

    def __init__(self, *, max_rows: int, classify_tokens: int) -> None:
        if max_rows < 1:
            raise ValueError(f"max_rows {max_rows} must be >= 1")
        self._max_rows = max_rows
        self._classify_tokens = classify_tokens
        self._waiting: Line[Text[Owner]] = Line()
        self.num_waiting = 0

    def add(self, text: Text[Owner]) -> None:
        """Let a text wait for its turn."""
        self._waiting.add(text.group, text)
        self.num_waiting += 1

    def cancel(self, text: Text[Owner]) -> None:
        """Forget a text that waits; one that does not is left alone."""
        self.num_waiting -= self._waiting.discard(text.group, text)

    def schedule(self) -> Classify[Owner] | None:
        """The next call, or None when nothing waits."""
        waiting = list(islice(self._waiting, _LOOKED_AT))
        if not waiting:
            return None
        texts = alike(waiting, lambda text: text.num_tokens, self._classify_tokens, self._max_rows)
        for text in texts:
            self._waiting.take(text.group, text)
        self.num_waiting -= len(texts)
        return Classify(texts)
