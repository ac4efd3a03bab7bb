"""The latest tokens of the rows that are decoded together, by index, and which rows are due. Knows no rows.

Most tokens need not be processed before their row ends. So a window's tokens are written down in one piece, and a row
is processed when it may end or has something to emit: not in every window, which would cost as much as choosing the
tokens.
"""

import numpy as np
from numpy.typing import NDArray

NUM_STEPS = 256  # steps that are kept
_MOST_NEW = NUM_STEPS // 2  # tokens after which a row is due at the latest: none is overwritten before


class TokenLog:
    """Keeps tokens until they are taken.

    Args:
        num_rows: the most rows that are decoded together.
        end_id: the token with which a row is due at once, or None.
    """

    def __init__(self, num_rows: int, end_id: int | None) -> None:
        self._end_id = -1 if end_id is None else end_id
        self._tokens = np.zeros((NUM_STEPS, num_rows), np.int64)  # of the step s in row s % NUM_STEPS
        self._num_steps = 0
        self._taken = np.zeros(num_rows, np.int64)  # by index, the step of the first token that has not been taken
        self._due = np.zeros(num_rows, np.int64)  # by index, the number of steps after which its row is due

    def reset(self, index: int, num_skipped: int) -> None:
        """A row joins whose first `num_skipped` tokens are not wanted; `set_due` must follow."""
        self._taken[index] = self._num_steps + num_skipped

    def move(self, index: int, source: int) -> None:
        """A row goes to another index."""
        self._tokens[:, index] = self._tokens[:, source]
        self._taken[index] = self._taken[source]
        self._due[index] = self._due[source]

    def set_due(self, index: int, num_tokens: int) -> None:
        """The row is due when `num_tokens` of its tokens have not been taken, or before."""
        self._due[index] = self._taken[index] + min(num_tokens, _MOST_NEW)

    def num_new(self, index: int) -> int:
        """How many of the row's tokens have not been taken; negative: how many are still to be skipped."""
        return self._num_steps - int(self._taken[index])

    def append(self, tokens: NDArray[np.int64]) -> list[int]:
        """Write down a window's tokens.

        Args:
            tokens: int64 [steps, n], of the rows 0..n-1; negative where the logits were not finite.

        Returns:
            The indices of the rows that are due, in order; also of those with a new end token or negative one.
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

    def take(self, index: int) -> list[int]:
        """The tokens of a row that have not been taken, in order."""
        start, stop = int(self._taken[index]), self._num_steps
        if start >= stop:
            return []
        self._taken[index] = stop
        first, last = start % NUM_STEPS, (stop - 1) % NUM_STEPS
        column = self._tokens[:, index]
        if first <= last:
            return column[first : last + 1].tolist()  # type: ignore[no-any-return]
        return [*column[first:].tolist(), *column[: last + 1].tolist()]
