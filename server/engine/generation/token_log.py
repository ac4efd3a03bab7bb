"""The latest tokens of the rows that are decoded together, by slot, and which rows are due. Knows no rows.

Most tokens need not be processed before their row ends. So a window's tokens are written down in one piece, and a row
is processed when it may end or has something to emit: not in every window, which would cost as much as choosing the
tokens.
"""

import numpy as np
from numpy.typing import NDArray

NUM_STEPS = 256  # that are kept: a row is due at least so often, less one window
_MOST_NEW = NUM_STEPS // 2


class TokenLog:
    """Keeps tokens until they are taken.

    Args:
        num_slots: the most rows that are decoded together.
        end_id: the token with which a row is due at once, or None.
    """

    def __init__(self, num_slots: int, end_id: int | None) -> None:
        self._end_id = -1 if end_id is None else end_id
        self._tokens = np.zeros((NUM_STEPS, num_slots), np.int64)  # of the step s in row s % NUM_STEPS
        self._num_steps = 0
        self._taken = np.zeros(num_slots, np.int64)  # by slot, the step of the first token that has not been taken
        self._due = np.zeros(num_slots, np.int64)  # by slot, the number of steps after which its row is due

    def begin(self, slot: int, num_skipped: int) -> None:
        """A row joins whose first so many tokens are not wanted; `schedule` must follow."""
        self._taken[slot] = self._num_steps + num_skipped

    def move(self, slot: int, source: int) -> None:
        """A row goes to another slot."""
        self._tokens[:, slot] = self._tokens[:, source]
        self._taken[slot] = self._taken[source]
        self._due[slot] = self._due[source]

    def schedule(self, slot: int, num_tokens: int) -> None:
        """The row is due when so many of its tokens have not been taken, or before."""
        self._due[slot] = self._taken[slot] + min(num_tokens, _MOST_NEW)

    def has_begun(self, slot: int) -> bool:
        """Whether the row has a token that was or can be taken."""
        return self.num_new(slot) > 0

    def num_new(self, slot: int) -> int:
        """How many of the row's tokens have not been taken."""
        return max(0, self._num_steps - int(self._taken[slot]))

    def append(self, tokens: NDArray[np.int64]) -> list[int]:
        """Write down a window's tokens.

        Args:
            tokens: int64 [steps, n], n rows in slots 0..n-1; negative where the logits were not finite.

        Returns:
            The slots that are due, in order: also those with an end token or a negative one that is wanted.
        """
        num_steps, num_rows = tokens.shape
        steps = np.arange(self._num_steps, self._num_steps + num_steps)
        self._tokens[steps % NUM_STEPS, :num_rows] = tokens
        self._num_steps += num_steps
        is_due = self._due[:num_rows] <= self._num_steps
        is_end = (tokens < 0) | (tokens == self._end_id)
        if is_end.any():
            is_due |= (is_end & (steps[:, None] >= self._taken[:num_rows])).any(axis=0)
        return np.flatnonzero(is_due).tolist()

    def take(self, slot: int) -> list[int]:
        """The tokens of a row that have not been taken, in order."""
        start, stop = int(self._taken[slot]), self._num_steps
        if start >= stop:
            return []
        self._taken[slot] = stop
        first, last = start % NUM_STEPS, (stop - 1) % NUM_STEPS
        column = self._tokens[:, slot]
        if first <= last:
            return column[first : last + 1].tolist()  # type: ignore[no-any-return]
        return [*column[first:].tolist(), *column[: last + 1].tolist()]
