"""Runners over TensorRT engines (interfaces: runtime.runner). No torch: CUDA by cuda-python.

Not run on hardware so far: every call is checked against the real bindings' names and against a recording runtime that
computes with ONNX Runtime. A row's answer is the same bytes within one batch bucket, and may differ between two.
"""

import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.errors import RunnerError
from runtime.runner import Array
from runtime.tensorrt.cuda import DeviceMemory, Stream
from runtime.tensorrt.engine import Bound, Engine
from runtime.tensorrt.step_graph import StepGraph

Floats = NDArray[np.float32]


class TensorrtSequenceRunner:
    """Runs a set's sequence graphs; safe to call from several threads, one call at a time.

    A call of more rows than the shapes' profile holds is cut into several.

    Args:
        engines: by graph.
    """

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines
        self._stream = Stream()
        self._lock = threading.Lock()
        self._memory: dict[tuple[str, str], DeviceMemory] = {}

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See SequenceRunner.run."""
        if graph not in self._engines:
            raise RunnerError(f"Graph {graph} is not open. Open: {', '.join(self._engines)}.")
        engine = self._engines[graph]
        missing = set(engine.inputs) - set(inputs)
        if missing:
            raise RunnerError(f"Graph {graph} lacks {', '.join(sorted(missing))}; it takes {', '.join(engine.inputs)}.")
        arrays = {name: np.ascontiguousarray(inputs[name], engine.dtype(name)) for name in engine.inputs}
        num_rows = len(next(iter(arrays.values())))
        with self._lock:
            profile = engine.profile_of({name: (1, *array.shape[1:]) for name, array in arrays.items()})
            most = min(engine.largest(name, profile)[0] for name in arrays)
            parts = [
                self._run_part(graph, engine, profile, {name: array[i : i + most] for name, array in arrays.items()})
                for i in range(0, num_rows, most)
            ]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run_part(self, graph: str, engine: Engine, profile: int, arrays: Mapping[str, Array]) -> dict[str, Array]:
        execution = engine.execution(profile, self._stream.handle)
        bound = {name: Bound(self._place(graph, name, array.nbytes), array.shape) for name, array in arrays.items()}
        execution.bind(bound, {})
        outputs: dict[str, Array] = {
            name: np.empty(execution.shape(name), engine.dtype(name)) for name in engine.outputs
        }
        execution.bind(bound, {name: self._place(graph, name, array.nbytes) for name, array in outputs.items()})
        for name, array in arrays.items():
            self._stream.upload(bound[name].address, array)
        execution.enqueue(self._stream.handle)
        for name, array in outputs.items():
            self._stream.download(array, self._memory[graph, name].address)
        self._stream.synchronize()
        return outputs

    def _place(self, graph: str, name: str, num_bytes: int) -> int:
        """An address with at least so much memory; it moves only when it grows."""
        memory = self._memory.get((graph, name))
        if memory is None or memory.num_bytes < num_bytes:
            if memory is not None:
                memory.free()
            self._memory[graph, name] = DeviceMemory(num_bytes)
        return self._memory[graph, name].address


class TensorrtStepRunner:
    """A StepRunner whose states stay on the device. Not thread-safe: it belongs to one engine thread.

    Args:
        graph: the step and the gather.
        capacity: number of slots, at most those of the gather.
    """

    def __init__(self, graph: StepGraph, capacity: int) -> None:
        self.capacity = capacity
        self._graph = graph

    def put(self, slot: int, row: Floats, memory: Mapping[str, Array] | None = None) -> None:
        """See StepRunner.put."""
        if memory is not None:
            raise RunnerError("This model's step takes no memory; put the state row alone.")
        self._graph.put(slot, row)

    def get(self, slot: int) -> Floats:
        """See StepRunner.get."""
        return self._graph.get(slot)

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> Floats:
        """See StepRunner.step."""
        logits: Floats = self._graph.run(tokens, parents)["logits"]
        return logits
