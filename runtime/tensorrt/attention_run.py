"""The step runner of a translator over TensorRT: states and each row's source stay on the device."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from runtime.buckets import length_bucket
from runtime.runner import Array
from runtime.sources import Source, SourceTable
from runtime.tensorrt.cuda import DeviceMemory, Stream
from runtime.tensorrt.engine import Bound
from runtime.tensorrt.step_graph import StepGraph

Floats = NDArray[np.float32]
_FLOAT = 4  # bytes


class TensorrtAttentionStepRunner:
    """An AttentionStepRunner over TensorRT. Not thread-safe: it belongs to one engine thread.

    Args:
        graph: the step and the gather.
        capacity: number of slots, at most those of the gather.
        memory_width: M.
        keys_width: A.
        max_length: positions of the longest source that the engine was built for.
    """

    def __init__(self, graph: StepGraph, capacity: int, *, memory_width: int, keys_width: int, max_length: int) -> None:
        self.capacity = capacity
        self.attention: Floats = np.zeros((0, 0), np.float32)
        self._graph = graph
        self._sources = SourceTable(capacity)
        self._max_length = max_length
        self._memories = {
            name: _Memories(graph.stream, graph.max_batch, max_length, width, name)
            for name, width in (("memory", memory_width), ("keys", keys_width))
        }

    def put(self, slot: int, row: Floats, memory: Mapping[str, Array] | None = None) -> None:
        """See StepRunner.put."""
        source = self._sources.put(slot, memory)
        if source.length > self._max_length:
            raise RunnerError(
                f"A source of {source.length} positions; the engine was built for {self._max_length}. Build it for "
                "more: python -m export tensorrt BUNDLE --max-length N"
            )
        self._graph.put(slot, row)

    def get(self, slot: int) -> Floats:
        """See StepRunner.get."""
        return self._graph.get(slot)

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> Floats:
        """See StepRunner.step."""
        asked = self._sources.asked(parents)
        bucket = self._graph.bucket_of(len(asked))
        length = min(length_bucket(max(source.length for source in asked)), self._max_length)
        bound = {name: memories.laid(asked, bucket, length) for name, memories in self._memories.items()}
        lengths = np.array([source.length for source in asked], np.int32)
        outputs = self._graph.run(tokens, parents, bound, lengths)
        self._sources.commit(asked)
        self.attention = outputs["attention"]
        logits: Floats = outputs["logits"]
        return logits


class _Memories:
    """The memories (or keys) of the rows, side by side at one address: float32 [rows, length, width].

    Rows that ask another source than before are brought together in a second place and copied back, so that the
    address, which the captured work holds, stays.
    """

    def __init__(self, stream: Stream, num_rows: int, max_length: int, width: int, name: str) -> None:
        self._stream = stream
        self._width = width
        self._name = name
        self._rows = DeviceMemory(num_rows * max_length * width * _FLOAT)
        self._other = DeviceMemory(self._rows.num_bytes)
        self._laid: list[Source] = []  # whose memory lies in each row
        self._length = 0

    def laid(self, asked: list[Source], bucket: int, length: int) -> Bound:
        """Lay the memories of the rows side by side, padded to a length; what lies so already is left."""
        if length != self._length:
            self._laid, self._length = [], length
        row_bytes = length * self._width * _FLOAT
        rows_of = {id(source): row for row, source in enumerate(self._laid)}
        moved = [row for row, source in enumerate(asked) if row >= len(self._laid) or self._laid[row] is not source]
        kept = []  # host memory that is being copied
        for row in moved:
            source, target = asked[row], self._other.address + row * row_bytes
            if id(source) in rows_of:
                self._stream.copy(target, self._rows.address + rows_of[id(source)] * row_bytes, row_bytes)
            else:
                padded = np.zeros((length, self._width), np.float32)
                padded[: source.length] = getattr(source, self._name)
                kept.append(padded)
                self._stream.upload(target, padded)
        for row in moved:
            offset = row * row_bytes
            self._stream.copy(self._rows.address + offset, self._other.address + offset, row_bytes)
        if kept:
            self._stream.synchronize()
        self._laid[: len(asked)] = asked
        return Bound(self._rows.address, (bucket, length, self._width))
