"""What every backend gives the server: two small interfaces. Knows no scheduling, no tokens' meaning, no transport."""

from collections.abc import Mapping, Sequence
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


class DecodeRunner(Protocol):
    """Holds the states of the rows that are decoded together, and advances all by several tokens in one call.

    The rows lie in slots 0..n-1; whoever uses it moves the last row into the slot of one that leaves. Over the graph
    `decode_beam` a slot holds the W rows of a search, and `get`, `previous` and `replay` are not for it.

    Attributes:
        capacity: the number of slots.
        input_names: inputs that `decode` takes besides state, memory, keys and lengths, those of filters among them.
    """

    capacity: int
    input_names: frozenset[str]

    def put(self, slot: int, row: NDArray[np.float32], memory: Mapping[str, Array] | None = None) -> None:
        """Write a state row, float32 [D], and what else the row needs, into a slot; as StepRunner.put.

        All rows of a search begin with the same state.
        """

    def get(self, slot: int) -> NDArray[np.float32]:
        """A copy of the state row, float32 [D], that the slot holds."""

    def previous(self, slot: int) -> NDArray[np.float32]:
        """A copy of the state row, float32 [D], that the slot held before the last window; no row may have moved in."""

    def move(self, slot: int, source: int) -> None:
        """Let the row of slot `source` continue in another slot."""

    def decode(self, num_rows: int, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Run a window for the rows of slots 0..num_rows-1 and keep their new states.

        Args:
            num_rows: n, at least 1.
            inputs: the graph's inputs besides state, memory, keys and lengths (docs/export.md); those of the filters
                (min_p, top_k, top_p) only where a row uses one, for they cost time.
            outputs: names of the outputs that are wanted.

        Returns:
            Those outputs, in order. `attention` is as wide as the longest source, rounded up.

        Raises:
            RunnerError: the runtime failed; the states are as before.
        """

    def replay(self, state: NDArray[np.float32], inputs: Mapping[str, Array]) -> NDArray[np.float32]:
        """The state of one row, float32 [D], after a window of its own; for rows without a memory.

        Args:
            state: float32 [D], before it.
            inputs: as for `decode`, of one row.

        Raises:
            RunnerError: the runtime failed.
        """
