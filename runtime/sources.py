"""Which source each slot of a translator asks, and which memory lies in which row. Knows no device."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from runtime.runner import Array

Floats = NDArray[np.float32]


class Source:
    """What one source's encoder gave: memory float32 [S, M] and keys float32 [S, A]."""

    def __init__(self, memory: Mapping[str, Array]) -> None:
        self.memory: Floats = np.ascontiguousarray(memory["memory"], np.float32)
        self.keys: Floats = np.ascontiguousarray(memory["keys"], np.float32)

    @property
    def length(self) -> int:
        """S, without padding."""
        return len(self.memory)


class SourceTable:
    """The sources of all slots.

    Args:
        capacity: number of slots.
    """

    def __init__(self, capacity: int) -> None:
        self._sources: list[Source | None] = [None] * capacity

    def put(self, slot: int, memory: Mapping[str, Array] | None) -> Source:
        """A row joins with its source.

        Raises:
            RunnerError: there is no memory.
        """
        if memory is None:
            raise RunnerError("This model's step asks a memory; put the state row with the encoder's memory and keys.")
        source = Source(memory)
        self._sources[slot] = source
        return source

    def asked(self, parents: NDArray[np.int64]) -> list[Source]:
        """The sources of the slots `parents`, int64 [n].

        Raises:
            RunnerError: a slot holds no row.
        """
        sources = [self._sources[parent] for parent in parents.tolist()]
        asked = [source for source in sources if source is not None]
        if len(asked) != len(sources):
            raise RunnerError(f"Slots {parents.tolist()} were named as parents, and one of them holds no row.")
        return asked

    def commit(self, asked: list[Source]) -> None:
        """Row i asks asked[i] from now on; whatever other slots held is forgotten."""
        self._sources[: len(asked)] = asked
        self._sources[len(asked) :] = [None] * (len(self._sources) - len(asked))
