"""What the sampler needs of each row of a batch, as arrays. Knows options and positions; knows no logits.

Under load a batch is sampled about a thousand times a second, each time with caches that the network has just emptied.
So whatever can be found out once for a batch that stays the same is found out once, here.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.decoding.options import GenerationOptions
from models.decoding.uniforms import stream_key, uniforms

GREEDY, PLAIN, FILTERED = 0, 1, 2  # kinds of rows: temperature 0; sampled from all tokens; with top_k, top_p or min_p

# `end_from` is the first position at which the end token may be chosen.
ROW = np.dtype(
    [
        ("key", np.uint64),
        ("position", np.int64),
        ("end_from", np.int64),
        ("kind", np.int8),
        ("temperature", np.float32),
        ("top_k", np.int64),
        ("top_p", np.float64),
        ("min_p", np.float32),
    ]
)
_LEAST_TEMPERATURE = 1e-6  # one below it but not 0 counts as this, so that quotients of logits do not overflow
_NUM_AHEAD = 16  # steps whose random numbers are made at once


def sampling_row(options: GenerationOptions, *, seed: int, choice: int, position: int) -> NDArray[np.void]:
    """One row of a table.

    Args:
        options: the request's.
        seed: the request's seed, 0 .. 2^63 - 1.
        choice: which of its prompt's samples this is, from 0.
        position: absolute position of the first token to be chosen: the number of tokens before it.

    Returns:
        dtype ROW, [1].
    """
    has_filter = options.top_k > 0 or options.top_p < 1 or options.min_p > 0
    values = (
        stream_key(seed, choice),
        position,
        position + options.min_tokens,
        GREEDY if options.temperature == 0 else FILTERED if has_filter else PLAIN,
        max(options.temperature, _LEAST_TEMPERATURE),
        min(options.top_k, 2**62),
        options.top_p,
        options.min_p,
    )
    return np.array([values], ROW)


class SamplingRows:
    """The rows of a batch, by place.

    Args:
        table: dtype ROW, [n].
        capacity: the most rows there will ever be; n by default.
        num_ahead: steps whose random numbers are made at once: 1 for rows that are used once.

    Attributes:
        kind: the kind of all rows, or None when they differ or there are none.
        temperature: float32 [n, 1], or None when it is 1 for all rows.
    """

    def __init__(self, table: NDArray[np.void], capacity: int | None = None, num_ahead: int = _NUM_AHEAD) -> None:
        self._num_rows = len(table)
        self._room = np.zeros(max(len(table), capacity or 0), ROW)  # positions are those before `_num_advanced` steps
        self._room[: len(table)] = table
        self._num_advanced = 0
        self._ahead = np.zeros(
            (num_ahead, len(self._room))
        )  # random numbers, of the positions in the room and the next
        self._has_ahead = False  # whether it is filled in
        self._early_until = int((table["end_from"] - table["position"]).max(initial=0))  # in steps; rows may have left
        self._temperatures = np.ascontiguousarray(self._room["temperature"])[:, None]
        self._kinds: list[int] = self._room["kind"].tolist()
        self._look()

    @classmethod
    def empty(cls, capacity: int) -> Self:
        """No rows, and room for so many."""
        return cls(np.zeros(0, ROW), capacity)

    def __len__(self) -> int:
        return self._num_rows

    @property
    def table(self) -> NDArray[np.void]:
        """A copy of the rows, dtype ROW, [n], at their present positions."""
        table: NDArray[np.void] = self._room[: self._num_rows].copy()
        table["position"] += self._num_advanced
        return table

    @property
    def early(self) -> NDArray[np.bool_] | None:
        """Which rows may not end yet, bool [n]; None when all may."""
        if self._early_until <= self._num_advanced:
            return None
        rows = self._room[: self._num_rows]
        is_early: NDArray[np.bool_] = rows["position"] + self._num_advanced < rows["end_from"]
        return is_early

    def uniforms(self) -> NDArray[np.float64]:
        """The uniform number of each row's present position, float64 [n]."""
        if not self._has_ahead or self._num_advanced >= len(self._ahead):
            rows = self._room[: self._num_rows]
            rows["position"] += self._num_advanced
            self._early_until -= self._num_advanced
            self._num_advanced = 0
            self._ahead[:, : self._num_rows] = uniforms(rows["key"], rows["position"], len(self._ahead))
            self._has_ahead = True
        numbers: NDArray[np.float64] = self._ahead[self._num_advanced, : self._num_rows]
        return numbers

    def advance(self) -> None:
        """Go on to the next position."""
        self._num_advanced += 1

    def rearrange(
        self, num_rows: int, moves: Sequence[tuple[int, int]], joining: Sequence[tuple[int, NDArray[np.void]]]
    ) -> None:
        """Change some places.

        Args:
            num_rows: rows from now on.
            moves: places that take the row of another place, with that place.
            joining: places that take a new row, with it, from `sampling_row`.
        """
        room, ahead = self._room, self._ahead
        for place, source in moves:
            room[place] = room[source]
            ahead[:, place] = ahead[:, source]
            self._temperatures[place] = self._temperatures[source]
            self._kinds[place] = self._kinds[source]
        keys, positions = [], []
        for place, row in joining:
            key, position, end_from, kind, temperature, *filters = row.item()
            self._early_until = max(self._early_until, self._num_advanced + end_from - position)
            room[place] = (key, position - self._num_advanced, end_from, kind, temperature, *filters)
            self._temperatures[place] = temperature
            self._kinds[place] = kind
            keys.append(key)
            positions.append(position - self._num_advanced)
        if joining and self._has_ahead:
            numbers = uniforms(np.array(keys, np.uint64), np.array(positions), len(ahead))
            for i, (place, _) in enumerate(joining):
                ahead[:, place] = numbers[:, i]
        self._num_rows = num_rows
        self._look()

    def _look(self) -> None:
        """Find out what all rows have in common."""
        kinds, temperatures = self._kinds[: self._num_rows], self._temperatures[: self._num_rows]
        self.kind: int | None = kinds[0] if kinds and kinds.count(kinds[0]) == len(kinds) else None
        self.temperature: NDArray[np.float32] | None = temperatures if (temperatures != 1).any() else None
