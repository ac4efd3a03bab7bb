"""The step runner of a translator on an NVIDIA GPU: states and memories stay on the device and move by gathers."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from runtime.buckets import bucket_of, length_bucket
from runtime.onnxruntime_cuda.build import CudaGraphs
from runtime.onnxruntime_cuda.device_rows import DeviceRows
from runtime.onnxruntime_cuda.step_graph import Place, StepGraph
from runtime.runner import Array
from runtime.sources import Source, SourceTable

Floats = NDArray[np.float32]


class CudaAttentionStepRunner:
    """An AttentionStepRunner over ONNX Runtime on an NVIDIA GPU.

    The memories of the rows lie side by side, padded to one of few lengths. They are gathered anew only when a row asks
    another source than in the step before; each padded length has a place of its own, where its last sources stay. Not
    thread-safe: it belongs to one engine thread.

    Args:
        graphs: an open set with the graph `step`.
        capacity: number of slots.
        state_width: D.
    """

    def __init__(self, graphs: CudaGraphs, capacity: int, state_width: int) -> None:
        self.capacity = capacity
        self.attention: Floats = np.zeros((0, 0), np.float32)
        self._graphs = graphs
        self._width = state_width
        self._graph = StepGraph(graphs)
        self._states = DeviceRows(graphs.gather, graphs.device, capacity, (state_width,))
        self._sources = SourceTable(capacity)
        self._memories: dict[int, _Memories] = {}  # by padded length

    def put(self, slot: int, row: Floats, memory: Mapping[str, Array] | None = None) -> None:
        """See StepRunner.put."""
        self._sources.put(slot, memory)
        self._states.put(slot, row)

    def get(self, slot: int) -> Floats:
        """See StepRunner.get."""
        return self._states.get(slot)

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> Floats:
        """See StepRunner.step."""
        asked = self._sources.asked(parents)
        num_rows = len(tokens)
        bucket = bucket_of(num_rows, self.capacity)
        padded = np.zeros(bucket, np.int64)
        padded[:num_rows] = tokens
        lengths = np.ones(bucket, np.int32)
        lengths[:num_rows] = [source.length for source in asked]
        shape = (bucket, self._width)
        inputs = {
            "state": Place(self._states.arranged(parents, bucket), shape),
            **self._memories_of(asked).laid(asked, bucket),
        }
        outputs = self._graph.run(padded, inputs, Place(self._states.next_address, shape), lengths=lengths)
        self._states.commit_next()
        self._sources.commit(asked)
        self.attention = outputs["attention"][:num_rows]
        logits: Floats = outputs["logits"][:num_rows]
        return logits

    def _memories_of(self, asked: list[Source]) -> "_Memories":
        length = length_bucket(max(source.length for source in asked))
        if length not in self._memories:
            self._memories[length] = _Memories(self._graphs, self.capacity, length, asked[0])
        return self._memories[length]


class _Memories:
    """The memories and keys of one padded length, row by row on the device."""

    def __init__(self, graphs: CudaGraphs, capacity: int, length: int, like: Source) -> None:
        self._length = length
        self._widths = {"memory": like.memory.shape[1], "keys": like.keys.shape[1]}
        self._rows = {
            name: DeviceRows(graphs.gather, graphs.device, capacity, (length, width))
            for name, width in self._widths.items()
        }
        self._laid: list[Source] = []  # whose memory lies in each row

    def laid(self, asked: list[Source], bucket: int) -> dict[str, Place]:
        """Lay the memories of the rows side by side; where they lie so already, nothing is done."""
        if asked != self._laid[: len(asked)]:
            rows_of = {id(source): row for row, source in reversed(list(enumerate(self._laid)))}
            free = len(self._laid)
            for source in asked:
                if id(source) not in rows_of:
                    rows_of[id(source)] = free
                    self._put(free, source)
                    free += 1
            index = np.array([rows_of[id(source)] for source in asked], np.int64)
            for rows in self._rows.values():
                rows.arranged(index, bucket)
                rows.commit_gathered()
            self._laid = list(asked)
        return {
            name: Place(rows.present_address, (bucket, self._length, self._widths[name]))
            for name, rows in self._rows.items()
        }

    def _put(self, row: int, source: Source) -> None:
        for name, array in (("memory", source.memory), ("keys", source.keys)):
            padded = np.zeros((self._length, self._widths[name]), np.float32)
            padded[: source.length] = array
            self._rows[name].put(row, padded)
