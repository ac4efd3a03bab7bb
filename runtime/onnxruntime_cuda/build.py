"""ONNX files to ONNX Runtime sessions on an NVIDIA GPU. Knows session options; knows nothing of slots or scheduling.

Not run on hardware so far: everything but the provider itself is tested on the CPU, with `Device("cpu")`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort

from models.errors import BackendMissingError, RunnerError
from models.graph_set import GraphSet
from runtime.onnxruntime.build import Graphs, model_in_memory
from runtime.onnxruntime_cuda.gather_model import gather_model

PROVIDER = "CUDAExecutionProvider"
STEP = "step"
# What may stay on the CPU of a graph: arithmetic on shapes, a few integers. Anything else there is an error.
_SHAPE_OPERATORS = frozenset(
    (
        *("Add", "Cast", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Gather", "Identity", "Mul", "Range"),
        *("ReduceProd", "Reshape", "Shape", "Size", "Slice", "Squeeze", "Sub", "Unsqueeze", "Where"),
    )
)


@dataclass(frozen=True)
class Device:
    """Where a graph set runs: a GPU by number, or the CPU with the GPU's runner, for tests."""

    type: Literal["cuda", "cpu"] = "cuda"
    id: int = 0


class CudaGraphs(Graphs):
    """Open sessions of one graph set on a device.

    Attributes:
        name: the set's name.
        device: where they run.
        sessions: graph name -> session.
        gather: the session that picks rows (runtime.onnxruntime_cuda.gather_model).
    """

    def __init__(self, name: str, device: Device, sessions: dict[str, Any], gather: Any) -> None:
        super().__init__(name, sessions)
        self.device = device
        self.gather = gather


def why_unavailable(device: Device) -> str | None:
    """One sentence on why this machine cannot run graphs on the device, or None where it can."""
    try:
        open_session(gather_model(), device)
    except RunnerError as error:
        return str(error)
    return None


def open_graph_set(graph_set: GraphSet, *, device: Device, graphs: Iterable[str] | None = None) -> CudaGraphs:
    """Open a verified graph set from memory, as the CPU's does; the step graph is run as a CUDA graph.

    Args:
        graph_set: the set; its files are read and hashed once more, and what was hashed is what runs.
        device: where to run it.
        graphs: which graphs; None for all.

    Raises:
        BackendMissingError: the provider is missing.
        BundleCorruptError: a file has changed since the set was opened.
        RunnerError: the runtime refuses a file, a node would run on the CPU, or the set is for another backend.
    """
    if device.type == "cuda" and graph_set.name == "int8":
        raise RunnerError("Graph set int8 is for the CPU alone (CUDA multiplies no 8-bit integers); use gpu-fp16.")
    names = graph_set.manifest.graphs if graphs is None else list(graphs)
    gather = open_session(gather_model(), device)
    files = graph_set.read(names)
    sessions = {
        name: open_session(
            graph_set.graph(name), device, is_captured=device.type == "cuda" and name == STEP, files=files
        )
        for name in names
    }
    return CudaGraphs(graph_set.name, device, sessions, gather)


def open_session(
    model: Path | bytes, device: Device, *, is_captured: bool = False, files: Mapping[str, bytes] | None = None
) -> Any:
    """Open one ONNX file, or a model's bytes, on the device.

    Args:
        model: weights beside a file are found by its own references, or in `files`.
        device: where.
        is_captured: runs are recorded as CUDA graphs and replayed; shapes and addresses must not change then.
        files: contents by file name, as runtime.onnxruntime.build.open_session takes them.

    Raises:
        BackendMissingError: the provider is missing.
        RunnerError: the runtime refuses the model, or a node would run on the CPU.
    """
    if device.type == "cuda" and PROVIDER not in ort.get_available_providers():
        present = ", ".join(ort.get_available_providers())
        raise BackendMissingError(
            f"ONNX Runtime {ort.__version__} has no {PROVIDER} here; it has {present}. On a machine with an NVIDIA GPU "
            "install onnxruntime-gpu instead of onnxruntime (extra gpu instead of cpu)."
        )
    if device.type == "cuda":
        ort.preload_dlls()  # of the NVIDIA packages that pip installs beside onnxruntime-gpu
    what = "the model that picks rows" if isinstance(model, bytes) else str(model)
    try:
        try:
            return _session(model, device, is_captured=is_captured, is_strict=True, files=files)
        except RunnerError:
            raise
        except Exception as error:  # the runtime's own exceptions have no common base but this
            if "fallback to CPU EP has been explicitly disabled" not in str(error):
                raise
        session = _session(model, device, is_captured=is_captured, is_strict=False, files=files)
    except RunnerError:
        raise
    except Exception as error:
        raise RunnerError(f"ONNX Runtime {ort.__version__} cannot open {what} on {device.type}: {error}") from error
    check_nodes_on_cpu(what, nodes_on_cpu(session))
    return session


def check_providers(device: Device, providers: Iterable[str]) -> None:
    """Refuse a session that was opened without its provider: the runtime then takes the CPU and only prints a warning.

    Raises:
        BackendMissingError: it was.
    """
    if device.type == "cuda" and PROVIDER not in providers:
        raise BackendMissingError(
            f"ONNX Runtime {ort.__version__} cannot start {PROVIDER} here and took {', '.join(providers)}. It needs an "
            "NVIDIA GPU with its driver, CUDA 13 and cuDNN 9 (see docs/gpu.md); its own message is printed above."
        )


def nodes_on_cpu(session: Any) -> list[tuple[str, str]]:
    """(operator, node) of the nodes that the runtime gave to the CPU."""
    return [
        (node.op_type, node.name)
        for subgraph in session.get_provider_graph_assignment_info()
        if subgraph.ep_name == "CPUExecutionProvider"
        for node in subgraph.get_nodes()
    ]


def check_nodes_on_cpu(what: str, nodes: Iterable[tuple[str, str]]) -> None:
    """Refuse a graph of which more than arithmetic on shapes runs on the CPU.

    Raises:
        RunnerError: naming the nodes.
    """
    wrong = [f"{name} ({operator})" for operator, name in nodes if operator not in _SHAPE_OPERATORS]
    if wrong:
        raise RunnerError(
            f"Of {what}, {len(wrong)} nodes would run on the CPU: {', '.join(wrong[:5])}. A step would wait for copies "
            "between the two; use a gpu- graph set, or the backend onnxruntime-cpu."
        )


def _session(
    model: Path | bytes, device: Device, *, is_captured: bool, is_strict: bool, files: Mapping[str, bytes] | None
) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if device.type == "cpu":
        providers: list[Any] = ["CPUExecutionProvider"]
    else:
        if is_strict:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        settings = {"device_id": str(device.id), "use_tf32": "0", "enable_cuda_graph": "1" if is_captured else "0"}
        providers = [(PROVIDER, settings)]
    if isinstance(model, bytes):
        source: bytes | str = model
    else:
        source = str(model) if files is None else model_in_memory(model, files, options)
    session = ort.InferenceSession(source, options, providers=providers, enable_fallback=0)
    session.disable_fallback()
    check_providers(device, session.get_providers())
    return session
