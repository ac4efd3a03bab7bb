"""A TensorRT that is not there: the module `tensorrt`, which records every call and computes with ONNX Runtime.

An engine's plan says which ONNX file it was built from, and running it runs that file, so that runners give real
answers. That the names and signatures are TensorRT's own, test_bindings.py asserts with the real bindings.
"""

import contextlib
import ctypes
import enum
import json
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort

from tests.runtime.tensorrt.fake_gpu import FakeGpu

# What imports TensorRT or CUDA at its top, to be imported anew with the fakes.
_IMPORTERS = ("attention_run", "build", "cuda", "engine", "messages", "progress", "run", "step_graph")


class DataType(enum.Enum):
    FLOAT = np.dtype(np.float32)
    HALF = np.dtype(np.float16)
    INT32 = np.dtype(np.int32)
    INT64 = np.dtype(np.int64)
    BOOL = np.dtype(np.bool_)


TensorIOMode = enum.Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
MemoryPoolType = enum.Enum("MemoryPoolType", ["WORKSPACE"])
BuilderFlag = enum.Enum("BuilderFlag", ["TF32"])
ProfilingVerbosity = enum.Enum("ProfilingVerbosity", ["DETAILED"])
Severity = enum.Enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class ILogger:
    Severity = Severity


class Logger(ILogger):
    ERROR = Severity.ERROR

    def __init__(self, severity: Severity) -> None:
        pass


class IProgressMonitor:
    pass


def _tensorrt(gpu: FakeGpu) -> ModuleType:
    """The module tensorrt."""
    module = ModuleType("tensorrt")
    for name, value in {
        "__version__": "11.4.0.106",
        "DataType": DataType,
        "float32": DataType.FLOAT,
        "int32": DataType.INT32,
        "Dims": list,
        "TensorIOMode": TensorIOMode,
        "MemoryPoolType": MemoryPoolType,
        "BuilderFlag": BuilderFlag,
        "ProfilingVerbosity": ProfilingVerbosity,
        "NetworkDefinitionCreationFlag": NetworkDefinitionCreationFlag,
        "ILogger": ILogger,
        "Logger": Logger,
        "IProgressMonitor": IProgressMonitor,
        "INetworkDefinition": FakeNetwork,
        "IBuilderConfig": FakeConfig,
        "IExecutionContext": FakeContext,
        "Builder": lambda logger: FakeBuilder(gpu, logger),
        "OnnxParser": lambda network, _: FakeParser(gpu, network),
        "Runtime": lambda logger: FakeRuntime(gpu, logger),
    }.items():
        setattr(module, name, value)
    return module


class _Recorded:
    """Anything whose calls are recorded."""

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu

    def record(self, name: str, *arguments: Any) -> None:
        self.gpu.calls.append((name, *arguments))


class FakeTensor:
    def __init__(self, name: str = "") -> None:
        self.name = name


class FakeNetwork(_Recorded):
    def __init__(self, gpu: FakeGpu) -> None:
        super().__init__(gpu)
        self.source: dict[str, Any] = {}

    def add_input(self, name: str, dtype: DataType, shape: list[int]) -> FakeTensor:
        self.record("add_input", name, dtype, shape)
        self.source.setdefault("inputs", {})[name] = shape
        return FakeTensor(name)

    def add_gather(self, values: FakeTensor, index: FakeTensor, axis: int) -> Any:
        self.record("add_gather", values.name, index.name, axis)
        return SimpleNamespace(get_output=lambda _: FakeTensor())

    def mark_output(self, tensor: FakeTensor) -> None:
        self.record("mark_output", tensor.name)


class FakeParser(_Recorded):
    def __init__(self, gpu: FakeGpu, network: FakeNetwork) -> None:
        super().__init__(gpu)
        self.network = network
        self.record("OnnxParser")

    def parse_from_file(self, path: str) -> bool:
        self.record("parse_from_file", path)
        self.network.source = {"onnx": path}
        return "parse" not in self.gpu.refuses

    num_errors = 1

    def get_error(self, index: int) -> str:
        return f"error {index}: no such operator"


class FakeProfile(dict[str, list[list[int]]]):
    def set_shape(self, name: str, smallest: list[int], typical: list[int], largest: list[int]) -> None:
        assert all(a <= b <= c for a, b, c in zip(smallest, typical, largest, strict=True))
        self[name] = [smallest, typical, largest]


class FakeConfig(_Recorded):
    def __init__(self, gpu: FakeGpu) -> None:
        super().__init__(gpu)
        self.profiles: list[FakeProfile] = []
        self.progress_monitor: Any = None
        self.profiling_verbosity: Any = None

    def set_memory_pool_limit(self, pool: MemoryPoolType, num_bytes: int) -> None:
        self.record("set_memory_pool_limit", pool.name, num_bytes)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.record("clear_flag", flag.name)

    def create_timing_cache(self, content: bytes) -> bytes:
        self.record("create_timing_cache", content)
        return content

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        self.record("set_timing_cache", cache, ignore_mismatch)
        return not (cache and "timing_cache" in self.gpu.refuses)

    def get_timing_cache(self) -> Any:
        self.record("get_timing_cache")
        return SimpleNamespace(serialize=lambda: b"timings")

    def add_optimization_profile(self, profile: FakeProfile) -> int:
        self.record("add_optimization_profile", dict(profile))
        self.profiles.append(profile)
        return -1 if "profile" in self.gpu.refuses else len(self.profiles) - 1


class FakeBuilder(_Recorded):
    def __init__(self, gpu: FakeGpu, logger: Any) -> None:
        super().__init__(gpu)
        self.logger = logger
        self.record("Builder")

    def create_network(self, flags: int) -> FakeNetwork:
        self.record("create_network", flags)
        return FakeNetwork(self.gpu)

    def create_builder_config(self) -> FakeConfig:
        self.record("create_builder_config")
        return FakeConfig(self.gpu)

    def create_optimization_profile(self) -> FakeProfile:
        return FakeProfile()

    def build_serialized_network(self, network: FakeNetwork, config: FakeConfig) -> bytes | None:
        self.record("build_serialized_network")
        self.logger.log(Severity.VERBOSE, "a tactic was timed")
        if "build" in self.gpu.refuses:
            self.logger.log(Severity.ERROR, "no implementation for node 3")
            return None
        monitor = config.progress_monitor
        monitor.phase_start("Building Engine", None, 2)
        monitor.phase_start("Timing", "Building Engine", 9)
        assert monitor.step_complete("Timing", 0)
        assert monitor.step_complete("Building Engine", 0)
        monitor.phase_finish("Timing")
        monitor.phase_finish("Building Engine")
        return json.dumps({**network.source, "profiles": config.profiles}).encode()


class FakeRuntime(_Recorded):
    def __init__(self, gpu: FakeGpu, logger: Any) -> None:
        super().__init__(gpu)
        if not gpu.num_devices:
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> "FakeEngine | None":
        self.record("deserialize_cuda_engine")
        if "plan" in self.gpu.refuses:
            self.logger.log(Severity.ERROR, "the plan is of another version")
            return None
        return FakeEngine(self.gpu, json.loads(plan))


class FakeEngine(_Recorded):
    def __init__(self, gpu: FakeGpu, plan: dict[str, Any]) -> None:
        super().__init__(gpu)
        self.profiles = plan["profiles"]
        self.num_optimization_profiles = len(self.profiles)
        self.taken: set[int] = set()
        self.session = None
        if "onnx" in plan:
            self.session = ort.InferenceSession(plan["onnx"], providers=["CPUExecutionProvider"])
            kinds = {"tensor(float)": DataType.FLOAT, "tensor(int64)": DataType.INT64, "tensor(int32)": DataType.INT32}
            self.kinds = {it.name: kinds[it.type] for it in (*self.session.get_inputs(), *self.session.get_outputs())}
            self.inputs = [it.name for it in self.session.get_inputs()]
            self.outputs = [it.name for it in self.session.get_outputs()]
            self.shapes = {
                it.name: [n if isinstance(n, int) else -1 for n in it.shape]
                for it in (*self.session.get_inputs(), *self.session.get_outputs())
            }
        else:
            self.inputs, self.outputs = ["slots", "index"], ["rows"]
            self.kinds = {"slots": DataType.FLOAT, "index": DataType.INT32, "rows": DataType.FLOAT}
            self.shapes = {**plan["inputs"], "rows": [-1, plan["inputs"]["slots"][1]]}
        self.num_io_tensors = len(self.inputs) + len(self.outputs)

    def get_tensor_name(self, index: int) -> str:
        name: str = [*self.inputs, *self.outputs][index]
        return name

    def get_tensor_mode(self, name: str) -> Any:
        return TensorIOMode["INPUT"] if name in self.inputs else TensorIOMode["OUTPUT"]

    def get_tensor_dtype(self, name: str) -> DataType:
        return self.kinds[name]

    def get_tensor_shape(self, name: str) -> list[int]:
        return self.shapes[name]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[list[int]]:
        fixed = self.shapes[name]
        found: list[list[int]] = self.profiles[profile].get(name, [fixed, fixed, fixed])
        return found

    def create_execution_context(self) -> "FakeContext | None":
        self.record("create_execution_context")
        return None if "context" in self.gpu.refuses else FakeContext(self.gpu, self)


class FakeContext(_Recorded):
    def __init__(self, gpu: FakeGpu, engine: FakeEngine) -> None:
        super().__init__(gpu)
        self.engine = engine
        self.profile = -1
        self.given: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.has_run = False

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.record("set_optimization_profile_async", profile)
        assert profile not in self.engine.taken, "two contexts share a profile"
        self.engine.taken.add(profile)
        self.profile = profile
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.record("set_input_shape", name, shape)
        low, _, high = self.engine.get_tensor_profile_shape(name, self.profile)
        self.given[name] = tuple(shape)
        self.has_run = False
        return len(low) == len(shape) and all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.record("set_tensor_address", name)
        assert self.gpu.kind_of(address, 1) == "device"
        self.addresses[name] = address
        return True

    def infer_shapes(self) -> list[str]:
        return [name for name in self.engine.inputs if name not in self.given]

    def get_tensor_shape(self, name: str) -> list[int]:
        """Batch and time are those of the inputs; other numbers are in the graph."""
        if name in self.given:
            return list(self.given[name])
        rows = self.given.get("token", self.given.get("ids", self.given.get("index", (0,))))
        length = self.given["memory"][1] if "memory" in self.given else rows[-1]
        dynamic = iter([rows[0], length])
        return [n if n >= 0 else next(dynamic) for n in self.engine.shapes[name]]

    def execute_async_v3(self, stream: int) -> bool:
        self.record("execute_async_v3")
        assert stream == 7, "work goes to the runner's own stream"
        assert not self.infer_shapes()
        assert self.has_run or not self.gpu.is_recording, "trtexec runs once before it captures"
        given, addresses = dict(self.given), dict(self.addresses)

        def work() -> None:
            inputs = {name: self._array(name, given[name], addresses[name]).copy() for name in self.engine.inputs}
            if self.engine.session is None:
                results = [inputs["slots"][inputs["index"]]]
            else:
                results = self.engine.session.run(self.engine.outputs, inputs)
            for name, result in zip(self.engine.outputs, results, strict=True):
                self._array(name, result.shape, addresses[name])[...] = result

        is_enqueued = self.gpu.enqueue(work)
        self.has_run = True
        return is_enqueued

    def _array(self, name: str, shape: tuple[int, ...], address: int) -> Any:
        dtype = self.engine.kinds[name].value
        num_bytes = int(np.prod(shape)) * dtype.itemsize
        assert self.gpu.kind_of(address, num_bytes) == "device"
        memory = (ctypes.c_char * num_bytes).from_address(address)
        return np.frombuffer(memory, dtype).reshape(shape)


@contextlib.contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """A machine with TensorRT and one GPU."""
    gpu = FakeGpu()
    fakes = {"tensorrt": _tensorrt(gpu), "cuda": ModuleType("cuda"), "cuda.bindings": ModuleType("cuda.bindings")}
    fakes["cuda.bindings.runtime"] = gpu.cuda()
    fakes["cuda.bindings"].runtime = fakes["cuda.bindings.runtime"]  # type: ignore[attr-defined]
    for name, module in fakes.items():
        module.__spec__ = ModuleSpec(name, None)  # others look for it
    replaced = {name: sys.modules.get(name) for name in fakes}
    _forget_importers()
    sys.modules.update(fakes)
    try:
        yield gpu
    finally:
        for name, original in replaced.items():
            if original is None:
                del sys.modules[name]
            else:
                sys.modules[name] = original
        _forget_importers()


def _forget_importers() -> None:
    for name in _IMPORTERS:
        sys.modules.pop(f"runtime.tensorrt.{name}", None)
