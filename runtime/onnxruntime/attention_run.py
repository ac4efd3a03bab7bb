"""A StepRunner over ONNX Runtime on the CPU whose rows ask a memory, for translation."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from runtime.onnxruntime.build import Graphs
from runtime.onnxruntime.memories import LaidMemories
from runtime.runner import Array
from runtime.sources import SourceTable

Floats = NDArray[np.float32]


class OnnxAttentionStepRunner:
    """An AttentionStepRunner over ONNX Runtime on the CPU. Not thread-safe: it belongs to one lane.

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
        self._sources = SourceTable(capacity)
        self._memories = LaidMemories()

    def put(self, slot: int, row: NDArray[np.float32], memory: Mapping[str, Array] | None = None) -> None:
        """See StepRunner.put."""
        self._sources.put(slot, memory)
        self._states[slot] = row

    def get(self, slot: int) -> NDArray[np.float32]:
        """See StepRunner.get."""
        row: Floats = self._states[slot].copy()
        return row

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.float32]:
        """See StepRunner.step."""
        asked = self._sources.asked(parents)
        memories, longest = self._memories.lay(asked)
        inputs = {"token": np.ascontiguousarray(tokens, np.int64), "state": self._states[parents], **memories}
        try:
            logits, new_state, attention = self._session.run(["logits", "new_state", "attention"], inputs)
        except Exception as error:  # the runtime's own exceptions have no common base but this
            raise RunnerError(f"Graph step failed: {error}") from error
        self._states[: len(asked)] = new_state
        self._sources.commit(asked)
        self.attention = attention[:, :longest]
        result: Floats = logits
        return result
