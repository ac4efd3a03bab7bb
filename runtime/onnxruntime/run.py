"""Runners over ONNX Runtime sessions on the CPU (interfaces: runtime.runner)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from runtime.onnxruntime.build import Graphs
from runtime.onnxruntime.ragged import EXACT_SET, cuts
from runtime.runner import Array


class OnnxSequenceRunner:
    """Runs a set's sequence graphs; safe to call from several threads."""

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See SequenceRunner.run."""
        if graph == "advance" and self._graphs.name == EXACT_SET and inputs.keys() >= {"ids", "lengths", "state"}:
            stops = cuts(inputs["lengths"])
            if len(stops) > 1:
                return self._advance_in_pieces(inputs["ids"], inputs["lengths"], inputs["state"], stops)
        return self._run(graph, inputs)

    def _advance_in_pieces(
        self, ids: NDArray[np.int64], lengths: NDArray[np.int32], state: NDArray[np.float32], stops: list[int]
    ) -> dict[str, Array]:
        """Make one call for each piece, of the rows that go on in it; `stops` are the pieces' ends."""
        outputs: dict[str, Array] = {}
        start = 0
        for stop in stops:
            (rows,) = np.nonzero(lengths > start)
            piece: dict[str, Array] = {
                "ids": np.ascontiguousarray(ids[rows, start:stop]),
                "lengths": np.minimum(lengths[rows], stop) - np.int32(start),
                "state": state[rows] if start == 0 else outputs["new_state"][rows],
            }
            for name, values in self._run("advance", piece).items():
                outputs.setdefault(name, np.empty((len(ids), *values.shape[1:]), values.dtype))[rows] = values
            start = stop
        return outputs

    def _run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        session = self._graphs.session(graph)
        names = [output.name for output in session.get_outputs()]
        try:
            values = session.run(names, dict(inputs))
        except Exception as error:  # the runtime's own exceptions have no common base but this
            raise RunnerError(f"Graph {graph} of set {self._graphs.name} failed: {error}") from error
        return dict(zip(names, values, strict=True))


class OnnxStepRunner:
    """States in three buffers: one holds the present, one is written by the step, one takes a gather of parents.

    The runtime reads and writes the buffers in place, through bindings made once for each batch size. A step copies the
    states of rows that moved into slots that no other row continues from, and all of them only where that cannot be.
    Not thread-safe: it belongs to one engine thread.

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
        source = self._gather(parents)
        target = (self._present + 1) % 3
        self._tokens[:num_rows] = tokens
        try:
            self._session.run_with_iobinding(self._binding(num_rows, source, target))
        except Exception as error:  # the runtime's own exceptions have no common base but this
            raise RunnerError(f"Graph step failed: {error}") from error
        self._present = target
        return self._logits[:num_rows]

    def _gather(self, parents: NDArray[np.int64]) -> int:
        """Bring every row's state into the slot of the row; in which buffer they are."""
        (moved,) = (parents != self._in_place[: len(parents)]).nonzero()
        if not len(moved):
            return self._present
        present = self._states[self._present]
        if set(parents.tolist()).isdisjoint(moved.tolist()):  # what lies where rows moved to, nobody continues from
            present[moved] = present[parents[moved]]
            return self._present
        gathered = (self._present + 2) % 3
        np.take(present, parents, axis=0, out=self._states[gathered][: len(parents)])
        return gathered

    def _binding(self, num_rows: int, source: int, target: int) -> Any:
        key = (num_rows, source, target)
        binding = self._bindings.get(key)
        if binding is None:
            binding = self._bindings[key] = self._session.io_binding()
            for bind, name, array in (
                (binding.bind_input, "token", self._tokens),
                (binding.bind_input, "state", self._states[source]),
                (binding.bind_output, "logits", self._logits),
                (binding.bind_output, "new_state", self._states[target]),
            ):
                bind(name, "cpu", 0, array.dtype.type, (num_rows, *array.shape[1:]), array.ctypes.data)
        return binding
