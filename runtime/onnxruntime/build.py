"""ONNX files to ONNX Runtime sessions on the CPU. Knows session options; knows nothing of slots or scheduling."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnxruntime as ort

from models.errors import RunnerError
from models.graph_set import GraphSet


class Graphs:
    """Open sessions of one graph set.

    Attributes:
        name: the set's name.
        sessions: graph name -> session.
    """

    def __init__(self, name: str, sessions: dict[str, Any]) -> None:
        self.name = name
        self.sessions = sessions

    def session(self, graph: str) -> Any:
        """The session of a graph.

        Raises:
            RunnerError: it was not opened.
        """
        if graph not in self.sessions:
            raise RunnerError(f"Graph {graph} is not open. Open: {', '.join(self.sessions)}.")
        return self.sessions[graph]


def open_graph_set(graph_set: GraphSet, *, threads: int = 1, graphs: Iterable[str] | None = None) -> Graphs:
    """Open a verified graph set.

    Args:
        graph_set: the set; its files were hashed when it was opened.
        threads: threads inside one operator. One is best beside a busy server; they never spin.
        graphs: which graphs; None for all.

    Raises:
        RunnerError: the runtime refuses a file, or the set is for another backend.
    """
    if graph_set.name.startswith("gpu-"):
        raise RunnerError(f"Graph set {graph_set.name} is for CUDA and TensorRT; on a CPU use fp32 or int8.")
    names = graph_set.manifest.graphs if graphs is None else list(graphs)
    return Graphs(graph_set.name, {name: open_session(graph_set.graph(name), threads=threads) for name in names})


def open_session(path: Path, *, threads: int = 1) -> Any:
    """Open one ONNX file (weights beside it are found by its own references).

    Raises:
        RunnerError: the runtime refuses it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Threads that share a session wait for each other's arena, and an arena never gives memory back.
    options.enable_cpu_mem_arena = False
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exceptions have no common base but this
        raise RunnerError(f"ONNX Runtime {ort.__version__} cannot open {path}: {error}") from error
