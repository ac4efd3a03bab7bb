"""Which texts are read together. Pure: no clock, no arrays, no threads, no asyncio.

Whenever a lane is free, the text whose turn it is goes, and with it what waits and is of similar length, up to a budget
of padded tokens. No text waits for a batch to fill. Requests take turns (round-robin).
"""

from collections.abc import Hashable, Iterator, Sequence
from itertools import islice
from typing import Generic, Protocol, TypeVar

from runtime.padding import padded_length
from server.engine.length_buckets import similar_lengths

_MOST_COMPARED = 1024  # waiting texts that are compared for their length


class WaitingText(Protocol):
    """What is scheduled."""

    @property
    def tokens(self) -> list[int]:
        """Its ids."""

    @property
    def outputs(self) -> Hashable:
        """What identifies its request."""


Item = TypeVar("Item", bound=WaitingText)


class BatchScheduler(Generic[Item]):
    """Texts that wait, by request in round-robin order, each request's in the order that they came.

    Args:
        max_rows: texts of one call.
        max_tokens: padded tokens of one call; a longer text goes alone.
        long_tokens: padded tokens from which a call is long.
    """

    def __init__(self, *, max_rows: int, max_tokens: int, long_tokens: int) -> None:
        if max_rows < 1:
            raise ValueError(f"max_rows {max_rows} must be >= 1")
        self._waiting: dict[Hashable, dict[Item, None]] = {}  # by request
        self._max_rows = max_rows
        self._max_tokens = max_tokens
        self._long_tokens = long_tokens

    @property
    def num_waiting(self) -> int:
        """Texts that wait."""
        return sum(map(len, self._waiting.values()))

    def add(self, text: Item) -> None:
        """Let a text wait for its turn."""
        self._waiting.setdefault(text.outputs, {})[text] = None

    def cancel(self, text: Item) -> None:
        """Forget a text that waits; a no-op for one that does not."""
        texts = self._waiting.get(text.outputs, {})
        texts.pop(text, None)
        if not texts:
            self._waiting.pop(text.outputs, None)

    def next_call(self, *, only_short: bool = False) -> list[Item]:
        """The texts of the next call, shortest first; empty when nothing waits.

        Args:
            only_short: leave texts out that make a call long.
        """
        texts = islice(self._in_turn(), _MOST_COMPARED)
        if only_short:
            candidates = [text for text in texts if padded_length(len(text.tokens)) < self._long_tokens]
        else:
            candidates = list(texts)
        if not candidates:
            return []
        max_tokens = self._long_tokens - 1 if only_short else self._max_tokens
        chosen = similar_lengths(candidates, _num_tokens, max_tokens, self._max_rows)
        for text in chosen:
            self.cancel(text)
        for text in chosen:  # their requests go to the end of the queue
            if text.outputs in self._waiting:
                self._waiting[text.outputs] = self._waiting.pop(text.outputs)
        return chosen

    def is_long(self, texts: Sequence[Item]) -> bool:
        """Whether a call of these texts, shortest first, is long."""
        return len(texts) * padded_length(len(texts[-1].tokens)) >= self._long_tokens

    def _in_turn(self) -> Iterator[Item]:
        """The first text of each request, then the second of each, and so on."""
        rounds = [iter(texts) for texts in self._waiting.values()]
        while rounds:
            found = [(texts, text) for texts in rounds if (text := next(texts, None)) is not None]
            yield from (text for _, text in found)
            rounds = [texts for texts, _ in found]


def _num_tokens(text: WaitingText) -> int:
    return len(text.tokens)
