"""The step of a whole bucket as one piece of work for the GPU: upload, gather, step, download; one CUDA graph each.

As trtexec does: the work is done once as it is, then captured; where it cannot be captured it goes on as it is.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from runtime.buckets import bucket_of
from runtime.runner import Array
from runtime.tensorrt.cuda import DeviceMemory, Graph, Stream, pinned
from runtime.tensorrt.engine import Bound, Engine

Floats = NDArray[np.float32]
_FLOAT = 4  # bytes


class StepGraph:
    """States on the device in two places: slots hold the present; a gather copies the parents' rows into the other
    place, and the step reads there and writes the new rows back into slots 0..bucket-1.

    Args:
        step: the engine of the graph `step`, one profile for each batch bucket.
        gather: the engine that picks rows, with the same profiles.
        num_slots: rows of the engine's slots.
        state_width: D.
        max_length: positions of the longest source that a step asks; 0 for a language model.
    """

    def __init__(self, step: Engine, gather: Engine, *, num_slots: int, state_width: int, max_length: int = 0) -> None:
        self.stream = Stream()
        self.max_batch = step.largest("token", step.num_profiles - 1)[0]
        self._step = step
        self._gather = gather
        self._width = state_width
        self._slots = DeviceMemory(num_slots * state_width * _FLOAT)
        self._rows = DeviceMemory(self.max_batch * state_width * _FLOAT)
        self._num_slots = num_slots
        self._host = {
            "token": pinned((self.max_batch,), np.int64),
            "index": pinned((self.max_batch,), np.int32),
            "lengths": pinned((self.max_batch,), np.int32),
            "logits": pinned((self.max_batch * step.static_shape("logits")[1],), np.float32),
            "attention": pinned((self.max_batch * max_length,), np.float32),
        }
        self._device = {name: DeviceMemory(array.nbytes) for name, array in self._host.items()}
        self._graphs: dict[int, Graph | None] = {}  # by bucket; None where capturing failed
        self._zero()

    @property
    def num_captured(self) -> int:
        """Buckets that run as CUDA graphs."""
        return sum(graph is not None for graph in self._graphs.values())

    def put(self, slot: int, row: Floats) -> None:
        """Write a state row, float32 [D], into a slot."""
        self.stream.upload(self._slot(slot), np.ascontiguousarray(row, np.float32))
        self.stream.synchronize()

    def get(self, slot: int) -> Floats:
        """The state row, float32 [D], of a slot."""
        row = np.empty(self._width, np.float32)
        self.stream.download(row, self._slot(slot))
        self.stream.synchronize()
        return row

    def bucket_of(self, num_rows: int) -> int:
        """The batch that so many rows run in.

        Raises:
            RunnerError: the engine was built for fewer.
        """
        if num_rows > self.max_batch:
            raise RunnerError(
                f"Engine {self._step.name} was built for batches up to {self.max_batch}, and {num_rows} rows were "
                f"stepped. Build it for more: python -m export tensorrt BUNDLE --max-batch {num_rows}"
            )
        return bucket_of(num_rows, self.max_batch)

    def run(
        self,
        tokens: NDArray[np.int64],
        parents: NDArray[np.int64],
        memories: Mapping[str, Bound] | None = None,
        lengths: NDArray[np.int32] | None = None,
    ) -> dict[str, Array]:
        """Advance n rows; row i continues from slot parents[i] and is in slot i afterwards.

        Args:
            tokens: int64 [n].
            parents: int64 [n].
            memories: for a translator, where memory and keys lie, float32 [bucket, S, M] and [bucket, S, A].
            lengths: for a translator, int32 [n], each row's number of positions.

        Returns:
            logits float32 [n, V], and for a translator attention float32 [n, S], valid until the next call.

        Raises:
            RunnerError: TensorRT or CUDA failed; unless CUDA itself is broken, the states are as before.
        """
        num_rows = len(tokens)
        bucket = self.bucket_of(num_rows)
        memories = memories or {}
        self._fill("token", tokens, bucket, 0)
        self._fill("index", parents, bucket, 0)
        inputs = {
            "token": Bound(self._device["token"].address, (bucket,)),
            "state": Bound(self._rows.address, (bucket, self._width)),
            **memories,
        }
        uploads, downloads = ["token", "index"], {"logits": (bucket, self._step.static_shape("logits")[1])}
        if lengths is not None:
            self._fill("lengths", lengths, bucket, 1)
            inputs["lengths"] = Bound(self._device["lengths"].address, (bucket,))
            uploads.append("lengths")
            downloads["attention"] = (bucket, memories["memory"].shape[1])
        outputs = {name: self._host[name][: shape[0] * shape[1]].reshape(shape) for name, shape in downloads.items()}
        self._do(bucket, inputs, uploads, outputs)
        return {name: array[:num_rows] for name, array in outputs.items()}

    def _do(self, bucket: int, inputs: dict[str, Bound], uploads: list[str], outputs: Mapping[str, Array]) -> None:
        """The bucket's work: as its CUDA graph where there is one for these shapes and addresses."""
        stream = self.stream
        index = {
            "slots": Bound(self._slots.address, (self._num_slots, self._width)),
            "index": Bound(self._device["index"].address, (bucket,)),
        }
        addresses = {name: self._device[name].address for name in outputs}
        gather = self._gather.execution(self._gather.profile_of({"index": (bucket,)}), stream.handle)
        profile = self._step.profile_of({name: bound.shape for name, bound in inputs.items()})
        step = self._step.execution(profile, stream.handle)
        is_changed = gather.bind(index, {"rows": self._rows.address})
        is_changed |= step.bind(inputs, {**addresses, "new_state": self._slots.address})
        if is_changed:
            self._forget(bucket)

        def work() -> None:
            for name in uploads:
                stream.upload(self._device[name].address, self._host[name][:bucket])
            gather.enqueue(stream.handle)
            step.enqueue(stream.handle)
            for name, array in outputs.items():
                stream.download(array, self._device[name].address)

        graph = self._graphs.get(bucket)
        if graph is not None:
            graph.launch()
            stream.synchronize()
            return
        work()
        stream.synchronize()
        if bucket not in self._graphs:
            self._graphs[bucket] = stream.captured(work)

    def _forget(self, bucket: int) -> None:
        graph = self._graphs.pop(bucket, None)
        if graph is not None:
            graph.free()

    def _fill(self, name: str, values: Array, bucket: int, rest: int) -> None:
        """Values into pinned memory, and `rest` into the bucket's other rows."""
        self._host[name][: len(values)] = values
        self._host[name][len(values) : bucket] = rest

    def _slot(self, slot: int) -> int:
        return self._slots.address + slot * self._width * _FLOAT

    def _zero(self) -> None:
        """No row is undefined: those that pad a bucket are computed too."""
        zeros = np.zeros((self._num_slots, self._width), np.float32)
        self.stream.upload(self._slots.address, zeros)
        self.stream.synchronize()
