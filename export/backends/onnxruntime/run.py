"""Runners over ONNX Runtime sessions on the CPU (interfaces: export.backends.runner)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.backends.onnxruntime.build import Graphs
from export.backends.runner import Array
from models.errors import RunnerError


class OnnxSequenceRunner:
    """Runs a set's sequence graphs; safe to call from several threads."""

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See SequenceRunner.run."""
        session = self._graphs.session(graph)
        names = [output.name for output in session.get_outputs()]
        try:
            values = session.run(names, dict(inputs))
        except Exception as error:  # the runtime's own exceptions have no common base but this
            raise RunnerError(f"Graph {graph} of set {self._graphs.name} failed: {error}") from error
        return dict(zip(names, values, strict=True))


class OnnxStepRunner:
    """States in three buffers: one holds the present, one is written by the step, one takes a gather of parents.

    The runtime reads and writes the buffers in place, through bindings made once for each batch size; a step copies no
    state unless rows changed places. Not thread-safe: it belongs to one engine thread.

    Args:
        graphs: an open set with the graph `step`.
        capacity: number of slots.
        state_width: D.
    """

    def __init__(self, graphs: Graphs, capacity: int, state_width: int) -> None:
        self.capacity = capacity
        self._session = graphs.session("step")
        shapes = {output.name: output.shape for output in self._session.get_outputs()}
        self._states = [np.zeros((capacity, state_width), np.float32) for _ in range(3)]
        self._present = 0
        self._tokens = np.zeros(capacity, np.int64)
        self._logits = np.zeros((capacity, shapes["logits"][1]), np.float32)
        self._in_place = np.arange(capacity)
        self._bindings: dict[tuple[int, int, int], Any] = {}

    def put(self, slot: int, row: NDArray[np.float32], memory: Mapping[str, Array] | None = None) -> None:
        """See StepRunner.put."""
        if memory is not None:
            raise RunnerError("This model's step takes no memory; put the state row alone.")
        self._states[self._present][slot] = row

    def get(self, slot: int) -> NDArray[np.float32]:
        """See StepRunner.get."""
        row: NDArray[np.float32] = self._states[self._present][slot].copy()
        return row

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.float32]:
        """See StepRunner.step."""
        num_rows = len(tokens)
        source = self._present
        if not np.array_equal(parents, self._in_place[:num_rows]):
            gathered = (source + 2) % 3
            np.take(self._states[source], parents, axis=0, out=self._states[gathered][:num_rows])
            source = gathered
        target = (self._present + 1) % 3
        self._tokens[:num_rows] = tokens
        try:
            self._session.run_with_iobinding(self._binding(num_rows, source, target))
        except Exception as error:  # the runtime's own exceptions have no common base but this
            raise RunnerError(f"Graph step failed: {error}") from error
        self._present = target
        return self._logits[:num_rows]

    def _binding(self, num_rows: int, source: int, target: int) -> Any:
        key = (num_rows, source, target)
        if key not in self._bindings:
            binding = self._session.io_binding()
            for bind, name, array in (
                (binding.bind_input, "token", self._tokens),
                (binding.bind_input, "state", self._states[source]),
                (binding.bind_output, "logits", self._logits),
                (binding.bind_output, "new_state", self._states[target]),
            ):
                bind(name, "cpu", 0, array.dtype.type, (num_rows, *array.shape[1:]), array.ctypes.data)
            self._bindings[key] = binding
        return self._bindings[key]
