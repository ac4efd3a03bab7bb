"""What every backend gives the server: two small interfaces. Knows no scheduling, no tokens' meaning, no transport."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class SequenceRunner(Protocol):
    """Runs the graphs that take whole (chunks of) sequences: named arrays in, named arrays out."""

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one graph of the set.

        Args:
            graph: its name: advance, score, ...
            inputs: each input of the graph by name, as `python -m export inspect` shows them.

        Returns:
            Each output of the graph by name.

        Raises:
            RunnerError: the runtime refused or failed; nothing else is affected.
        """


class StepRunner(Protocol):
    """Holds the states of the sequences that are being decoded and advances all of them by one token.

    A slot is a place for one state row. `step` with n rows reads the states of slots parents[0..n-1], applies
    tokens[0..n-1], and leaves the new states in slots 0..n-1; what the other slots held is forgotten, unless `put`
    after that step. So joining (put into a free slot >= n, name it as a parent), leaving (name it no more),
    compaction and beam reordering are all `parents`, and the states can stay on a device.

    Attributes:
        capacity: the number of slots; n <= capacity. `put` needs a slot besides those in use, so a scheduler that
            steps n rows together asks for capacity >= 2 n.
    """

    capacity: int

    def put(self, slot: int, row: NDArray[np.float32], memory: Mapping[str, Array] | None = None) -> None:
        """Write a state row, float32 [D], into a slot, to be named as a parent in the next step.

        Args:
            slot: 0..capacity-1.
            row: the state.
            memory: what else the row needs for its whole life; None for generation. For translation one source's
                encoder outputs, without padding: "memory" float32 [S, M] and "keys" float32 [S, A]. Rows that are
                stepped from this slot, and from those rows' slots after them, ask this memory; so the rows of a beam
                are one `put`, then a step that names its slot as many times as there are rows.
        """

    def get(self, slot: int) -> NDArray[np.float32]:
        """A copy of the state row, float32 [D], that the slot holds."""

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.float32]:
        """Advance n rows by one token each.

        Args:
            tokens: int64 [n], row i's next input.
            parents: int64 [n], the slot whose state row i continues from; a slot may be named more than once.

        Returns:
            logits, float32 [n, V], C-contiguous, valid until the next call.

        Raises:
            RunnerError: the runtime failed; the slots that parents name are as before the call.
        """


class AttentionStepRunner(StepRunner, Protocol):
    """A StepRunner whose rows ask a memory, for translation.

    Attributes:
        attention: float32 [n, S] of the last step, valid until the next: row i's weights over its source's positions;
            they sum to 1 and are exactly 0 past that source's length. S is the longest source, rounded up.
    """

    attention: NDArray[np.float32]
