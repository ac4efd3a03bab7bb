"""Which texts are read together. Pure: no clock, no arrays, no threads, no asyncio.

When a lane is free, the next text in round-robin order of the requests goes, with those that make the cheapest call
with it, up to a budget of padded tokens.

While another lane makes a call that is about as short, a call of fewer texts than that waits: most of what a small
call costs it costs without texts (server.engine.length_buckets), so lanes that each took whatever has arrived would
spend the cores on small calls. It waits for ENOUGH texts, for as many as the other call has, or for the end of that
call.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from runtime.padding import padded_length
from server.engine.classification.request import Text, TextBatch
from server.engine.length_buckets import length_bucket

ENOUGH = 12  # texts of a call that never waits
_MOST_COMPARED = 64  # waiting texts that are compared for their length


class ClassificationScheduler:
    """Texts that wait, by request in round-robin order, each request's in the order that they came.

    Args:
        max_texts: texts of one call.
        max_tokens: padded tokens of one call; a longer text goes alone.
        long_tokens: padded tokens from which a call is long.
    """

    def __init__(self, *, max_texts: int, max_tokens: int, long_tokens: int) -> None:
        if max_texts < 1:
            raise ValueError(f"max_texts {max_texts} must be >= 1")
        self._waiting: dict[TextBatch, dict[Text, None]] = {}  # by request
        self._max_texts = max_texts
        self._max_tokens = max_tokens
        self._long_tokens = long_tokens

    @property
    def num_waiting(self) -> int:
        """Texts that wait."""
        return sum(map(len, self._waiting.values()))

    def add(self, text: Text) -> None:
        """Let a text wait for its turn."""
        self._waiting.setdefault(text.request, {})[text] = None

    def cancel(self, text: Text) -> None:
        """Forget a text that waits; a no-op for one that does not."""
        texts = self._waiting.get(text.request, {})
        texts.pop(text, None)
        if not texts:
            self._waiting.pop(text.request, None)

    def next_call(self, running: Iterable[Sequence[Text]] = (), *, only_short: bool = False) -> list[Text]:
        """The texts of the next call, shortest first; empty when nothing waits, or should not go yet.

        Args:
            running: the calls that other lanes make now, each as this method gave it.
            only_short: leave texts out that make a call long.
        """
        texts = islice(self._in_turn(), _MOST_COMPARED)
        if only_short:
            candidates = [text for text in texts if padded_length(len(text.tokens)) < self._long_tokens]
        else:
            candidates = list(texts)
        if not candidates or len(candidates) < self._enough(candidates[0], running):
            return []
        max_tokens = self._long_tokens - 1 if only_short else self._max_tokens
        chosen = length_bucket(candidates, lambda text: len(text.tokens), max_tokens, self._max_texts)
        if len(chosen) < self._enough(chosen[-1], running):
            return []
        for text in chosen:
            self.cancel(text)
        for text in chosen:  # their requests go to the end of the queue
            if text.request in self._waiting:
                self._waiting[text.request] = self._waiting.pop(text.request)
        return chosen

    def may_go(self, text: Text, running: Iterable[Sequence[Text]]) -> bool:
        """Whether enough texts wait for a call in which this text is the longest."""
        return self.num_waiting >= self._enough(text, running)

    def is_long(self, texts: Sequence[Text]) -> bool:
        """Whether a call of these texts, shortest first, is long."""
        return len(texts) * padded_length(len(texts[-1].tokens)) >= self._long_tokens

    def _enough(self, longest: Text, running: Iterable[Sequence[Text]]) -> int:
        """Texts that a call with this longest text must have to go now."""
        limit = 2 * padded_length(len(longest.tokens))
        similar = (len(texts) for texts in running if padded_length(len(texts[-1].tokens)) <= limit)
        return min(ENOUGH, self._max_texts, max(similar, default=0))

    def _in_turn(self) -> Iterator[Text]:
        """The first text of each request, then the second of each, and so on."""
        rounds = [iter(texts) for texts in self._waiting.values()]
        while rounds:
            found = [(texts, text) for texts in rounds if (text := next(texts, None)) is not None]
            yield from (text for _, text in found)
            rounds = [texts for texts, _ in found]
