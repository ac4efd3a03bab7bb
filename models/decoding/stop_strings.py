"""Ending a text at the first stop string, while it is being written. Knows characters only.

The stop strings form an Aho-Corasick automaton (Aho & Corasick 1975): one state per prefix of a stop string. The state
after a text is the longest prefix that the text ends with, so its depth is how much a stream must hold back, and the
cost per character does not grow with the number of stop strings.

Which of several ends the text: the one that is complete first; of those complete at once, the longest. That does not
depend on how the text was cut into pieces.
"""

from collections import deque
from collections.abc import Sequence


class StopStrings:
    """The automaton of a request's stop strings; immutable, shared by its rows.

    Args:
        stops: not empty strings.

    Attributes:
        next: state -> character -> state, for the edges of the prefix tree.
        fail: state -> the longest shorter prefix that it ends with.
        depth: state -> its length in characters.
        match: state -> the longest stop string that it ends with, or None.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self.next: list[dict[str, int]] = [{}]
        self.fail = [0]
        self.depth = [0]
        self.match: list[str | None] = [None]
        for stop in stops:
            self._insert(stop)
        self._link()

    def step(self, state: int, character: str) -> int:
        """The state after one more character."""
        while state and character not in self.next[state]:
            state = self.fail[state]
        return self.next[state].get(character, 0)

    def _insert(self, stop: str) -> None:
        state = 0
        for character in stop:
            if character not in self.next[state]:
                self.next[state][character] = len(self.next)
                self.next.append({})
                self.fail.append(0)
                self.depth.append(self.depth[state] + 1)
                self.match.append(None)
            state = self.next[state][character]
        self.match[state] = stop

    def _link(self) -> None:
        """Fill `fail`, and let each state inherit the match of its fail state, in order of depth."""
        queue = deque(self.next[0].values())
        while queue:
            state = queue.popleft()
            for character, child in self.next[state].items():
                self.fail[child] = self.step(self.fail[state], character)
                queue.append(child)
            if self.match[state] is None:
                self.match[state] = self.match[self.fail[state]]


class StopFilter:
    """Lets text through up to the first stop string, holding back what may yet become one.

    Attributes:
        matched: the stop string that ended the text, or None.
    """

    def __init__(self, stops: StopStrings) -> None:
        self._stops = stops
        self._state = 0
        self._held = ""
        self.matched: str | None = None

    def push(self, text: str, *, may_stop: bool = True) -> str:
        """The text that is now certain to be shown.

        Args:
            text: what follows; not after a match.
            may_stop: whether a stop string that this text completes ends it; if not, it is shown like any text.
        """
        stops = self._stops
        written = self._held + text
        for i, character in enumerate(text, start=len(self._held) + 1):
            self._state = stops.step(self._state, character)
            self.matched = stops.match[self._state] if may_stop else None
            if self.matched is not None:
                self._held = ""
                return written[: i - len(self.matched)]
        certain = len(written) - stops.depth[self._state]
        self._held = written[certain:]
        return written[:certain]

    def finish(self) -> str:
        """What was held back, when no text follows."""
        held, self._held = self._held, ""
        return held
