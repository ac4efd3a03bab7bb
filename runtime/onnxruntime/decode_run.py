"""A DecodeRunner over ONNX Runtime on the CPU."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from runtime.onnxruntime.build import Graphs
from runtime.onnxruntime.memories import LaidMemories
from runtime.runner import Array
from runtime.sources import Source

Floats = NDArray[np.float32]


class OnnxDecodeRunner:
    """See DecodeRunner. States lie in two buffers: one holds the present, the other what was before the last window.

    Not thread-safe: it belongs to one lane.

    Args:
        graphs: an open set with the graph `decode`, and `decode_filtered` where it has that; for beams `decode_beam`.
        capacity: number of slots.
        state_width: D.
        beam_size: the rows of each slot, for `decode_beam`; None for `decode`.
    """

    def __init__(self, graphs: Graphs, capacity: int, state_width: int, beam_size: int | None = None) -> None:
        self.capacity = capacity
        self._session = graphs.session("decode" if beam_size is None else "decode_beam")
        self._filtered = self._session if beam_size else graphs.sessions.get("decode_filtered", self._session)
        self.input_names = frozenset(item.name for item in self._filtered.get_inputs())
        self._has_memory = "memory" in self.input_names
        shape = (capacity, state_width) if beam_size is None else (capacity, beam_size, state_width)
        self._states: Floats = np.zeros(shape, np.float32)
        self._before: Floats = np.zeros(shape, np.float32)
        self._sources: list[Source | None] = [None] * capacity
        self._memories = LaidMemories()

    def put(self, slot: int, row: NDArray[np.float32], memory: Mapping[str, Array] | None = None) -> None:
        """See DecodeRunner.put."""
        if self._has_memory != (memory is not None):
            raise RunnerError("This model's rows need a memory." if self._has_memory else "This model has no memory.")
        self._states[slot] = row
        self._sources[slot] = None if memory is None else Source(memory)

    def get(self, slot: int) -> NDArray[np.float32]:
        """See DecodeRunner.get."""
        row: Floats = self._states[slot].copy()
        return row

    def previous(self, slot: int) -> NDArray[np.float32]:
        """See DecodeRunner.previous."""
        row: Floats = self._before[slot].copy()
        return row

    def move(self, slot: int, source: int) -> None:
        """See DecodeRunner.move."""
        self._states[slot] = self._states[source]
        self._sources[slot] = self._sources[source]

    def decode(self, num_rows: int, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """See DecodeRunner.decode."""
        fed = {**inputs, "state": self._states[:num_rows]}
        longest = 0
        if self._has_memory:
            memories, longest = self._memories.lay([source for source in self._sources[:num_rows] if source])
            fed |= memories
        new_state, *found = self._run(["new_state", *outputs], fed)
        self._states, self._before = self._before, self._states
        self._states[:num_rows] = new_state
        if "attention" in outputs:
            index = outputs.index("attention")
            found[index] = found[index][..., :longest]
        return found

    def replay(self, state: NDArray[np.float32], inputs: Mapping[str, Array]) -> NDArray[np.float32]:
        """See DecodeRunner.replay."""
        (new_state,) = self._run(["new_state"], {**inputs, "state": state[None]})
        row: Floats = new_state[0]
        return row

    def _run(self, outputs: list[str], inputs: Mapping[str, Array]) -> list[Array]:
        try:
            session = self._filtered if "min_p" in inputs else self._session
            return list(session.run(outputs, inputs))
        except Exception as error:  # the runtime's own exceptions have no common base but this
            raise RunnerError(f"Graph decode failed: {error}") from error
