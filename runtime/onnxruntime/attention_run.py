"""The step runner of a translator: states as the plain one holds them, and each row's source beside them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from runtime.onnxruntime.build import Graphs
from runtime.padding import padded_length
from runtime.runner import Array

Floats = NDArray[np.float32]

_SHORTER_STEPS = 50  # that the array of memories keeps a length which no source has any more


class OnnxAttentionStepRunner:
    """An AttentionStepRunner over ONNX Runtime on the CPU.

    A source is kept once, however many rows ask it. The graph wants one memory for each row, side by side; of that
    array only those rows are written that ask another source than in the step before, which is when a row joins or
    leaves: reordering a beam changes states and no memory. The array grows with the longest source at once and shrinks
    some steps after it has gone, so that sources of different lengths do not lay all rows anew again and again.
    Not thread-safe: it belongs to one engine thread.

    Args:
        graphs: an open set with the graph `step`.
        capacity: number of slots.
        state_width: D.
    """

    def __init__(self, graphs: Graphs, capacity: int, state_width: int) -> None:
        self.capacity = capacity
        self.attention: Floats = np.zeros((0, 0), np.float32)
        self._session = graphs.session("step")
        self._states: Floats = np.zeros((capacity, state_width), np.float32)
        self._sources: list[_Source | None] = [None] * capacity  # of each slot
        self._laid: list[_Source | None] = []  # whose memory lies in each row of the next two
        self._num_steps_shorter = 0  # since a source had their length
        self._memory: Floats = np.zeros((0, 0, 0), np.float32)
        self._keys: Floats = np.zeros((0, 0, 0), np.float32)

    def put(self, slot: int, row: NDArray[np.float32], memory: Mapping[str, Array] | None = None) -> None:
        """See StepRunner.put."""
        if memory is None:
            raise RunnerError("This model's step asks a memory; put the state row with the encoder's memory and keys.")
        self._states[slot] = row
        self._sources[slot] = _Source(memory["memory"], memory["keys"])

    def get(self, slot: int) -> NDArray[np.float32]:
        """See StepRunner.get."""
        row: Floats = self._states[slot].copy()
        return row

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.float32]:
        """See StepRunner.step."""
        sources = [self._sources[parent] for parent in parents.tolist()]
        asked = [source for source in sources if source is not None]
        if len(asked) != len(sources):
            raise RunnerError(f"Slots {parents.tolist()} were named as parents, and one of them holds no row.")
        longest = self._lay(asked)
        inputs = {
            "token": np.ascontiguousarray(tokens, np.int64),
            "state": self._states[parents],
            "memory": self._memory[: len(asked)],
            "keys": self._keys[: len(asked)],
            "lengths": np.array([len(source.memory) for source in asked], np.int32),
        }
        try:
            logits, new_state, attention = self._session.run(["logits", "new_state", "attention"], inputs)
        except Exception as error:  # the runtime's own exceptions have no common base but this
            raise RunnerError(f"Graph step failed: {error}") from error
        self._states[: len(asked)] = new_state
        self._sources[: len(asked)] = asked
        self._sources[len(asked) :] = [None] * (self.capacity - len(asked))
        self.attention = attention[:, :longest]
        result: Floats = logits
        return result

    def _lay(self, asked: "list[_Source]") -> int:
        """Lay the rows' memories side by side, where they do not lie so already; the padded length of the longest."""
        longest = padded_length(max(len(source.memory) for source in asked))
        laid_length = self._memory.shape[1]
        self._num_steps_shorter = self._num_steps_shorter + 1 if longest < laid_length else 0
        has_been_shorter = self._num_steps_shorter > _SHORTER_STEPS
        if longest > laid_length or len(asked) > len(self._laid) or has_been_shorter:
            num_rows = max(len(asked), len(self._laid))
            self._memory = np.zeros((num_rows, longest, asked[0].memory.shape[1]), np.float32)
            self._keys = np.zeros((num_rows, longest, asked[0].keys.shape[1]), np.float32)
            self._laid = [None] * num_rows
            self._num_steps_shorter = 0
        for row, source in enumerate(asked):
            if self._laid[row] is not source:
                length = len(source.memory)
                self._memory[row, :length] = source.memory
                self._memory[row, length:] = 0
                self._keys[row, :length] = source.keys
                self._keys[row, length:] = 0
                self._laid[row] = source
        return longest


class _Source:
    """What one source's encoder gave: memory float32 [S, M] and keys float32 [S, A]."""

    def __init__(self, memory: Floats, keys: Floats) -> None:
        self.memory = np.ascontiguousarray(memory, np.float32)
        self.keys = np.ascontiguousarray(keys, np.float32)
