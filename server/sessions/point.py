"""Where a session stands: its tokens, and the state after all of them but the last."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_OBJECT_BYTES = 1000  # of a session besides its arrays, about


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """Immutable, arrays included; so a fork shares it.

    Attributes:
        tokens: int32 [length], from the first on; the last one is pending: the next call applies it.
        row: float32 [D], the state after tokens[:-1]; the initial one for up to one token.
    """

    tokens: NDArray[np.int32]
    row: NDArray[np.float32]

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
        return self.tokens.nbytes + self.row.nbytes + _OBJECT_BYTES
