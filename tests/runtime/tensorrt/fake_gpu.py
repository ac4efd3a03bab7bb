"""A GPU that is not there: its memory, its stream, and the module `cuda.bindings.runtime` that records every call.

Memory on the device is host memory that only copies and engines may touch, and what is recorded during a capture
happens at each launch; a copy in the wrong direction, past an end or from memory that moves is an error. That the names
are CUDA's own, test_bindings.py asserts with the real bindings.
"""

import ctypes
import enum
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

_ALIGNMENT = 64


Status = enum.Enum("Status", ["cudaSuccess", "cudaErrorStreamCaptureInvalidated", "cudaErrorNoDevice"])
Kind = enum.Enum("Kind", ["cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost", "cudaMemcpyDeviceToDevice"])
CaptureMode = enum.Enum("CaptureMode", ["cudaStreamCaptureModeThreadLocal"])


class FakeGpu:
    """The machine.

    Attributes:
        calls: what was called, in order.
        is_capturable: whether engines can be captured.
        refuses: what fails: parse, build, enqueue, plan, context, timing_cache.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.is_capturable = True
        self.refuses: set[str] = set()
        self.num_devices = 1
        self.compute = (9, 0)
        self._blocks: dict[int, tuple[Any, int, str]] = {}  # address -> (memory, bytes, host or device)
        self._recording: list[Callable[[], None]] | None = None
        self._is_broken = False

    def names(self, *only: str) -> list[str]:
        """The names of the calls, of `only` where any are given."""
        return [call[0] for call in self.calls if not only or call[0] in only]

    def clear(self) -> None:
        self.calls.clear()

    @property
    def is_recording(self) -> bool:
        return self._recording is not None

    # memory

    def allocate(self, num_bytes: int, where: str) -> int:
        memory = (ctypes.c_char * (num_bytes + _ALIGNMENT))()
        ctypes.memset(memory, 0xFF, num_bytes)  # NaN, so that what is read before it is written shows
        address = -(-ctypes.addressof(memory) // _ALIGNMENT) * _ALIGNMENT
        self._blocks[address] = (memory, num_bytes, where)
        return address

    def free(self, address: int) -> str:
        assert self._recording is None, "memory is not freed during a capture"
        return self._blocks.pop(address)[2]

    def kind_of(self, address: int, num_bytes: int) -> str:
        """host, device, or pageable for memory that was not asked for here."""
        for start, (_, size, where) in self._blocks.items():
            if start <= address < start + size:
                assert address + num_bytes <= start + size, "past the end of a block"
                return where
        return "pageable"

    def do(self, work: Callable[[], None]) -> None:
        if self._recording is None:
            work()
        else:
            self._recording.append(work)

    def copy(self, target: int, source: int, num_bytes: int, kind: Kind) -> None:
        kinds = (self.kind_of(target, num_bytes) == "device", self.kind_of(source, num_bytes) == "device")
        assert (
            kinds
            == {
                Kind["cudaMemcpyHostToDevice"]: (True, False),
                Kind["cudaMemcpyDeviceToHost"]: (False, True),
                Kind["cudaMemcpyDeviceToDevice"]: (True, True),
            }[kind]
        ), f"{kind.name} from or to the wrong memory"
        if self._recording is not None:
            for address in (target, source):
                assert self.kind_of(address, num_bytes) != "pageable", "captured copies need memory that stays"
        if kind is Kind["cudaMemcpyDeviceToDevice"]:
            assert target + num_bytes <= source or source + num_bytes <= target, "the places overlap"

        def move() -> None:
            ctypes.memmove(target, source, num_bytes)

        self.do(move)

    def enqueue(self, work: Callable[[], None]) -> bool:
        if "enqueue" in self.refuses:
            return False
        if self._recording is not None and not self.is_capturable:
            self._is_broken = True
            return False
        self.do(work)
        return True

    def begin_capture(self) -> bool:
        assert self._recording is None
        self._recording, self._is_broken = [], False
        return True

    def end_capture(self) -> list[Callable[[], None]] | None:
        assert self._recording is not None
        recorded, self._recording = self._recording, None
        return None if self._is_broken else recorded

    # modules

    def cuda(self) -> ModuleType:
        """The module cuda.bindings.runtime."""
        gpu, success = self, Status["cudaSuccess"]
        module = ModuleType("cuda.bindings.runtime")

        def call(name: str, work: Callable[..., tuple[Any, ...]]) -> None:
            def wrapped(*arguments: Any) -> tuple[Any, ...]:
                gpu.calls.append((name, *arguments))
                return work(*arguments)

            setattr(module, name, wrapped)

        def end_capture(stream: Any) -> tuple[Any, ...]:
            graph = gpu.end_capture()
            return (Status["cudaErrorStreamCaptureInvalidated"], None) if graph is None else (success, graph)

        def memcpy(target: int, source: int, num_bytes: int, kind: Kind, stream: Any) -> tuple[Any, ...]:
            assert stream == 7, "copies go to the runner's own stream"
            gpu.copy(target, source, num_bytes, kind)
            return (success,)

        def launch(graph: list[Callable[[], None]], stream: Any) -> tuple[Any, ...]:
            for work in graph:
                work()
            return (success,)

        def count() -> tuple[Any, ...]:
            return (success, gpu.num_devices) if gpu.num_devices else (Status["cudaErrorNoDevice"], None)

        def properties(device: int) -> tuple[Any, ...]:
            major, minor = gpu.compute
            return success, SimpleNamespace(name=b"NVIDIA H200\0\0", major=major, minor=minor)

        call("cudaGetDeviceCount", count)
        call("cudaGetDeviceProperties", properties)
        call("cudaGetErrorString", lambda status: (success, f"{status.name} happened".encode()))
        call("cudaGetLastError", lambda: (success,))
        call("cudaMalloc", lambda num_bytes: (success, gpu.allocate(num_bytes, "device")))
        call("cudaFree", lambda address: (success, gpu.free(address))[:1])
        call("cudaHostAlloc", lambda num_bytes, _: (success, gpu.allocate(num_bytes, "host")))
        call("cudaMemcpyAsync", memcpy)
        call("cudaStreamCreateWithFlags", lambda _: (success, 7))
        call("cudaStreamSynchronize", lambda _: (success,))
        call("cudaStreamBeginCapture", lambda _, __: (success, gpu.begin_capture())[:1])
        call("cudaStreamEndCapture", end_capture)
        call("cudaGraphInstantiate", lambda graph, _: (success, graph))
        call("cudaGraphDestroy", lambda _: (success,))
        call("cudaGraphExecDestroy", lambda _: (success,))
        call("cudaGraphLaunch", launch)
        for name, value in {
            "cudaError_t": Status,
            "cudaMemcpyKind": Kind,
            "cudaStreamCaptureMode": CaptureMode,
            "cudaStreamNonBlocking": 1,
            "cudaHostAllocDefault": 0,
        }.items():
            setattr(module, name, value)
        return module
