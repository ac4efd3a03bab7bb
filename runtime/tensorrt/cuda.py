"""CUDA as little as is needed: memory, copies, a stream, a captured graph. Knows nothing of TensorRT."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from cuda.bindings import runtime as cudart
from numpy.typing import DTypeLike, NDArray

from models.errors import RunnerError

Array = NDArray[Any]


def checked(result: Sequence[Any]) -> Any:
    """What a call of the CUDA runtime returned, without its status.

    Raises:
        RunnerError: the status is an error; the message is CUDA's.
    """
    status, *values = result
    if status != cudart.cudaError_t.cudaSuccess:
        raise RunnerError(f"CUDA failed with {status.name}: {cudart.cudaGetErrorString(status)[1].decode()}.")
    return values[0] if values else None


class Stream:
    """A stream of work on the GPU, beside the default one.

    Attributes:
        handle: as an integer.
    """

    def __init__(self) -> None:
        self._stream = checked(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        self.handle = int(self._stream)

    def synchronize(self) -> None:
        """Wait until all work is done."""
        checked(cudart.cudaStreamSynchronize(self._stream))

    def upload(self, target: int, source: Array) -> None:
        """Copy host memory, C-contiguous, to an address on the device; the host memory must live until it is done."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        checked(cudart.cudaMemcpyAsync(target, source.ctypes.data, source.nbytes, kind, self._stream))

    def download(self, target: Array, source: int) -> None:
        """Copy from an address on the device to host memory, C-contiguous."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        checked(cudart.cudaMemcpyAsync(target.ctypes.data, source, target.nbytes, kind, self._stream))

    def copy(self, target: int, source: int, num_bytes: int) -> None:
        """Copy on the device; the two places do not overlap."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        checked(cudart.cudaMemcpyAsync(target, source, num_bytes, kind, self._stream))

    def captured(self, record: Callable[[], None]) -> "Graph | None":
        """Record work instead of doing it.

        Args:
            record: enqueues the work on this stream; it was done once before, so that nothing is left to allocate.

        Returns:
            The graph, or None where something in the work cannot be captured.
        """
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked(cudart.cudaStreamBeginCapture(self._stream, mode))
        try:
            record()
        except RunnerError:
            cudart.cudaStreamEndCapture(self._stream)  # gives an error, as the capture is broken
            cudart.cudaGetLastError()  # which is forgotten
            return None
        status, graph = cudart.cudaStreamEndCapture(self._stream)
        if status != cudart.cudaError_t.cudaSuccess:
            cudart.cudaGetLastError()
            return None
        status, executable = cudart.cudaGraphInstantiate(graph, 0)
        checked(cudart.cudaGraphDestroy(graph))
        if status != cudart.cudaError_t.cudaSuccess:
            cudart.cudaGetLastError()
            return None
        return Graph(executable, self._stream)


class Graph:
    """Captured work, to be launched any number of times."""

    def __init__(self, executable: Any, stream: Any) -> None:
        self._executable = executable
        self._stream = stream

    def launch(self) -> None:
        """Enqueue the work."""
        checked(cudart.cudaGraphLaunch(self._executable, self._stream))

    def free(self) -> None:
        """Give it back."""
        checked(cudart.cudaGraphExecDestroy(self._executable))


class DeviceMemory:
    """Memory on the GPU.

    Attributes:
        address: of its first byte.
        num_bytes: how much it is.
    """

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = max(num_bytes, 1)
        self.address = int(checked(cudart.cudaMalloc(self.num_bytes)))

    def free(self) -> None:
        """Give it back; nothing may still use it."""
        checked(cudart.cudaFree(self.address))


def pinned(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """An array of zeros in host memory that the GPU reads and writes directly; it lives as long as the process."""
    kind = np.dtype(dtype)
    num_bytes = max(int(np.prod(shape)) * kind.itemsize, 1)
    address = int(checked(cudart.cudaHostAlloc(num_bytes, cudart.cudaHostAllocDefault)))
    memory = (ctypes.c_char * num_bytes).from_address(address)
    array: Array = np.frombuffer(memoryview(memory).cast("B"), kind, count=int(np.prod(shape))).reshape(shape)
    array[...] = 0
    return array
