"""The step graph with all it reads and writes at fixed addresses on the device, so that a CUDA graph can replay it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.errors import RunnerError
from runtime.onnxruntime_cuda.build import STEP, CudaGraphs
from runtime.runner import Array

MAX_CAPTURED = 256  # CUDA graphs kept; shapes beyond run without
_NOT_CAPTURED = -1


@dataclass(frozen=True)
class Place:
    """An array on the device that the caller owns and whose address does not change.

    Attributes:
        address: of the first element, in the device's memory.
        shape: what the step sees of it.
    """

    address: int
    shape: tuple[int, ...]


class StepGraph:
    """Runs `step` over batches of few sizes.

    Each combination of addresses and shapes has one binding and, on a GPU, one CUDA graph, recorded by the runtime in
    its first run and replayed in the others (run option gpu_graph_id).

    Args:
        graphs: an open set with the graph `step`.
    """

    def __init__(self, graphs: CudaGraphs) -> None:
        self._session = graphs.session(STEP)
        self._device = graphs.device
        self._bindings: dict[tuple[int, tuple[tuple[str, Place], ...]], _Binding] = {}
        self._values: dict[tuple[str, tuple[int, ...]], Any] = {}  # inputs from the host and outputs to it
        self._widths = {output.name: output.shape for output in self._session.get_outputs()}

    def run(
        self,
        tokens: NDArray[np.int64],
        inputs: Mapping[str, Place],
        new_state: Place,
        *,
        lengths: NDArray[np.int32] | None = None,
    ) -> dict[str, Array]:
        """One step of a whole bucket.

        Args:
            tokens: int64 [bucket].
            inputs: the other inputs: state float32 [bucket, D], and for a translator memory and keys.
            new_state: where the new states go, float32 [bucket, D].
            lengths: for a translator, int32 [bucket].

        Returns:
            logits float32 [bucket, V], and for a translator attention float32 [bucket, S], in host memory.

        Raises:
            RunnerError: the runtime failed.
        """
        bucket = len(tokens)
        given: dict[str, Array] = {"token": tokens} if lengths is None else {"token": tokens, "lengths": lengths}
        try:
            for name, array in given.items():
                self._upload(name, array)
            binding = self._binding(bucket, given, inputs, new_state)
            self._session.run_with_iobinding(binding.binding, binding.options)
            return {name: value.numpy() for name, value in binding.outputs.items()}
        except Exception as error:  # the runtime's own exceptions have no common base but this
            raise RunnerError(f"Graph step failed on {self._device.type}: {error}") from error

    def _binding(
        self, bucket: int, given: Mapping[str, Array], inputs: Mapping[str, Place], new_state: Place
    ) -> "_Binding":
        key = (bucket, (*sorted(inputs.items(), key=lambda item: item[0]), ("new_state", new_state)))
        if key not in self._bindings:
            binding = self._session.io_binding()
            device, number = self._device.type, self._device.id
            for name, array in given.items():
                binding.bind_ortvalue_input(name, self._values[name, array.shape])
            for name, place in inputs.items():
                binding.bind_input(name, device, number, np.float32, place.shape, place.address)
            binding.bind_output("new_state", device, number, np.float32, new_state.shape, new_state.address)
            shapes = {"logits": (bucket, self._widths["logits"][1])}
            if "attention" in self._widths:
                shapes["attention"] = (bucket, inputs["memory"].shape[1])
            outputs = {name: self._output(name, shape) for name, shape in shapes.items()}
            for name, value in outputs.items():
                binding.bind_ortvalue_output(name, value)
            self._bindings[key] = _Binding(binding, outputs, self._options(len(self._bindings)))
        return self._bindings[key]

    def _options(self, number: int) -> Any:
        options = ort.RunOptions()
        if self._device.type == "cuda":
            identity = number + 1 if number < MAX_CAPTURED else _NOT_CAPTURED
            options.add_run_config_entry("gpu_graph_id", str(identity))
        return options

    def _upload(self, name: str, array: Array) -> None:
        key = (name, array.shape)
        if key in self._values:
            self._values[key].update_inplace(array)
        else:
            self._values[key] = ort.OrtValue.ortvalue_from_numpy(array.copy(), self._device.type, self._device.id)

    def _output(self, name: str, shape: tuple[int, ...]) -> Any:
        key = (name, shape)
        if key not in self._values:
            self._values[key] = ort.OrtValue.ortvalue_from_numpy(
                np.zeros(shape, np.float32), self._device.type, self._device.id
            )
        return self._values[key]


@dataclass(frozen=True)
class _Binding:
    binding: Any
    outputs: dict[str, Any]
    options: Any
