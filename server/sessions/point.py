"""Where a session stands: its tokens, the state after all of them but the last, and where it stood before."""

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

_OBJECT_BYTES = 1000  # of a session besides its arrays, about
_MOST_MARKS = 8


class Mark(NamedTuple):
    """A state on the way.

    Attributes:
        num_read: tokens that it has read.
        row: float32 [D], not to be changed.
    """

    num_read: int
    row: NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """Immutable, arrays included; so a fork shares it.

    Attributes:
        tokens: int32 [length], from the first on; the last one is pending: the next call applies it.
        row: float32 [D], the state after tokens[:-1]; the initial one for up to one token.
        marks: states after fewer of the tokens, at the ends of the latest calls, in order; to go back to.
    """

    tokens: NDArray[np.int32]
    row: NDArray[np.float32]
    marks: tuple[Mark, ...] = ()

    @classmethod
    def beginning(cls, state_width: int) -> Self:
        """Before the first token.

        Args:
            state_width: D.
        """
        return cls(np.zeros(0, np.int32), np.zeros(state_width, np.float32))

    @property
    def num_read(self) -> int:
        """Tokens that the row has read."""
        return max(len(self.tokens) - 1, 0)

    @property
    def num_bytes(self) -> int:
        """Memory that a session at this point takes."""
        return self.tokens.nbytes + self.row.nbytes * (1 + len(self.marks)) + _OBJECT_BYTES

    def extended(self, tokens: NDArray[np.int32], row: NDArray[np.float32]) -> Self:
        """The point after a call: `tokens` begin with this one's; `row` is the state after all of them but the last."""
        marks = (*self.marks, Mark(self.num_read, self.row)) if self.num_read else ()
        return replace(self, tokens=tokens, row=row, marks=marks[-_MOST_MARKS:])

    def nearest(self, num_read: int) -> Mark:
        """The last state on the way that has read so many tokens or fewer; the initial one if no other is known."""
        marks = [mark for mark in (*self.marks, Mark(self.num_read, self.row)) if mark.num_read <= num_read]
        return marks[-1] if marks else Mark(0, np.zeros_like(self.row))

    def rewound(self, to: int, row: NDArray[np.float32]) -> Self:
        """The point after the first `to` tokens, whose row is given."""
        marks = tuple(mark for mark in self.marks if mark.num_read < to - 1)
        return replace(self, tokens=self.tokens[:to].copy(), row=row, marks=marks)
