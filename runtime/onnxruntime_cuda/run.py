"""Runners over ONNX Runtime sessions on an NVIDIA GPU (interfaces: runtime.runner).

Rows are padded to few batch sizes, so that CUDA graphs can be replayed; a row's answer is the same bytes within one
batch size, and may differ in the last bits between two.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from runtime.buckets import bucket_of
from runtime.onnxruntime_cuda.build import CudaGraphs
from runtime.onnxruntime_cuda.device_rows import DeviceRows
from runtime.onnxruntime_cuda.step_graph import Place, StepGraph
from runtime.runner import Array

Floats = NDArray[np.float32]


class CudaStepRunner:
    """States stay on the device; a step uploads tokens and brings back logits.

    Not thread-safe: it belongs to one engine thread.

    Args:
        graphs: an open set with the graph `step`.
        capacity: number of slots.
        state_width: D.
    """

    def __init__(self, graphs: CudaGraphs, capacity: int, state_width: int) -> None:
        self.capacity = capacity
        self._width = state_width
        self._graph = StepGraph(graphs)
        self._states = DeviceRows(graphs.gather, graphs.device, capacity, (state_width,))

    def put(self, slot: int, row: Floats, memory: Mapping[str, Array] | None = None) -> None:
        """See StepRunner.put."""
        if memory is not None:
            raise RunnerError("This model's step takes no memory; put the state row alone.")
        self._states.put(slot, row)

    def get(self, slot: int) -> Floats:
        """See StepRunner.get."""
        return self._states.get(slot)

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> Floats:
        """See StepRunner.step."""
        num_rows = len(tokens)
        bucket = bucket_of(num_rows, self.capacity)
        padded = np.zeros(bucket, np.int64)
        padded[:num_rows] = tokens
        shape = (bucket, self._width)
        source = Place(self._states.arranged(parents, bucket), shape)
        outputs = self._graph.run(padded, {"state": source}, Place(self._states.next_address, shape))
        self._states.commit_next()
        logits: Floats = outputs["logits"][:num_rows]
        return logits
