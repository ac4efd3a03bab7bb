"""The memories of the rows that are decoded together, side by side as the graphs want them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.padding import padded_length
from runtime.sources import Source

Floats = NDArray[np.float32]

_SHORTER_CALLS = 50  # that the arrays keep a length which no source has any more


class LaidMemories:
    """Arrays of memories and keys, of which only those rows are written that have another source than before.

    The arrays grow with the longest source at once and shrink some calls after it has gone, so that sources of
    different lengths do not write all rows anew again and again.
    """

    def __init__(self) -> None:
        self._laid: list[Source | None] = []  # whose memory lies in each row
        self._num_calls_shorter = 0  # since a source had their length
        self._memory: Floats = np.zeros((0, 0, 0), np.float32)
        self._keys: Floats = np.zeros((0, 0, 0), np.float32)

    def lay(self, sources: Sequence[Source]) -> tuple[dict[str, NDArray[np.floating | np.integer]], int]:
        """Write what has changed.

        Args:
            sources: of each row, at least one.

        Returns:
            The graph's inputs `memory` float32 [n, S, M], `keys` float32 [n, S, A] and `lengths` int32 [n]; and the
            padded length of the longest source, at most S.
        """
        lengths = np.array([source.length for source in sources], np.int32)
        longest = padded_length(int(lengths.max()))
        laid_length = self._memory.shape[1]
        self._num_calls_shorter = self._num_calls_shorter + 1 if longest < laid_length else 0
        has_been_shorter = self._num_calls_shorter > _SHORTER_CALLS
        if longest > laid_length or len(sources) > len(self._laid) or has_been_shorter:
            num_rows = max(len(sources), len(self._laid))
            self._memory = np.zeros((num_rows, longest, sources[0].memory.shape[1]), np.float32)
            self._keys = np.zeros((num_rows, longest, sources[0].keys.shape[1]), np.float32)
            self._laid = [None] * num_rows
            self._num_calls_shorter = 0
        for row, source in enumerate(sources):
            if self._laid[row] is not source:
                length = source.length
                self._memory[row, :length] = source.memory
                self._memory[row, length:] = 0
                self._keys[row, :length] = source.keys
                self._keys[row, length:] = 0
                self._laid[row] = source
        n = len(sources)
        return {"memory": self._memory[:n], "keys": self._keys[:n], "lengths": lengths}, longest
