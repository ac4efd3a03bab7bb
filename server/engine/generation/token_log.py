"""The last tokens of the rows that step together, by place, and which rows are to be looked at. Knows no rows.

Of most tokens nobody needs to know before their row ends. So a step's tokens are written down in one piece, and a row
is looked at when it may end or is to be told: not in every step, which would cost as much as choosing the tokens.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

NUM_STEPS = 256  # that are kept: a row is looked at so often at the least


class TokenLog:
    """Keeps tokens until they are taken.

    Args:
        num_places: the most rows that step together.
        end_id: the token after which a row is looked at at once, or None.
    """

    def __init__(self, num_places: int, end_id: int | None) -> None:
        self._end_id = end_id
        self._tokens = np.zeros((NUM_STEPS, num_places), np.int64)  # of the step s in row s % NUM_STEPS
        self._num_steps = 0
        self._starts = [0] * num_places  # by place, the step of the first token that has not been taken
        self._due = [0] * num_places  # by place, the step after which its row is looked at
        self._places_due: defaultdict[int, set[int]] = defaultdict(set)  # by step; some may be due later by now

    def begin(self, place: int) -> None:
        """A row joins; `expect` must follow."""
        self._starts[place] = self._num_steps

    def move(self, place: int, source: int) -> None:
        """A row goes to another place."""
        self._tokens[:, place] = self._tokens[:, source]
        self._starts[place] = self._starts[source]
        self._set_due(place, self._due[source])

    def expect(self, place: int, num_tokens: int) -> None:
        """Look at a row when so many of its tokens were not taken, or before; after the next step at the earliest."""
        due = self._starts[place] + min(num_tokens, NUM_STEPS) - 1
        self._set_due(place, max(due, self._num_steps))

    def note(self, tokens: NDArray[np.int64]) -> list[int]:
        """Write down a step's tokens, int64 [n].

        Returns:
            The places that are to be looked at, in order; those that go on are given a new `expect`.
        """
        step = self._num_steps
        self._tokens[step % NUM_STEPS, : len(tokens)] = tokens
        self._num_steps = step + 1
        due: Iterable[int] = self._places_due.pop(step, ())
        places = {place for place in due if self._due[place] == step and place < len(tokens)}
        if self._end_id is not None:
            places.update(np.flatnonzero(tokens == self._end_id).tolist())
        return sorted(places)

    def take(self, place: int) -> list[int]:
        """The tokens of a row that have not been taken, in order."""
        start, stop = self._starts[place], self._num_steps
        self._starts[place] = stop
        column = self._tokens[:, place]
        first, last = start % NUM_STEPS, (stop - 1) % NUM_STEPS
        if start == stop:
            return []
        if first <= last:
            return column[first : last + 1].tolist()  # type: ignore[no-any-return]
        return [*column[first:].tolist(), *column[: last + 1].tolist()]

    def _set_due(self, place: int, step: int) -> None:
        self._due[place] = step
        self._places_due[step].add(place)
