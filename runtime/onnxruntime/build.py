"""ONNX files to ONNX Runtime sessions on the CPU. Knows session options; knows nothing of slots or scheduling."""

import os
from collections.abc import Iterable, Mapping
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
    """Open a verified graph set from memory: no session depends on a file once it is open.

    Args:
        graph_set: the set; its files are read and hashed once more, and what was hashed is what runs.
        threads: threads inside one operator. One is best beside a busy server; they never spin.
        graphs: which graphs; None for all.

    Raises:
        BundleCorruptError: a file has changed since the set was opened.
        RunnerError: the runtime refuses a file, or the set is for another backend.
    """
    if graph_set.name.startswith("gpu-"):
        raise RunnerError(f"Graph set {graph_set.name} is for CUDA and TensorRT; on a CPU use fp32 or int8.")
    names = graph_set.manifest.graphs if graphs is None else list(graphs)
    files = graph_set.read(names)
    sessions = {name: open_session(graph_set.graph(name), threads=threads, files=files) for name in names}
    return Graphs(graph_set.name, sessions)


def open_session(path: Path, *, threads: int = 1, files: Mapping[str, bytes] | None = None) -> Any:
    """Open one ONNX file.

    Args:
        path: the file.
        threads: as for `open_graph_set`.
        files: the contents of the file and of its weights, by file name; nothing is read from the disk then. The
            runtime copies what it keeps. Without it, weights beside the file are found by its own references and stay
            mapped from the disk: for files that nobody changes meanwhile.

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
        model = str(path) if files is None else model_in_memory(path, files, options)
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's own exceptions have no common base but this
        raise RunnerError(f"ONNX Runtime {ort.__version__} cannot open {path}: {error}") from error
    session.disable_fallback()  # would open it again, with options that refer to contents that are freed by then
    return session


def model_in_memory(path: Path, files: Mapping[str, bytes], options: Any) -> bytes:
    """The contents of an ONNX file, with session options that give it its weights from memory.

    The runtime takes the weights of the main graph so, not those of the bodies of Scan, Loop and If. These must be
    inside the file, as export.onnx.weights leaves them; otherwise opening it fails.

    Args:
        path: the file; only its name is used.
        files: as for `open_session`. They must live until the session is made, and no longer.
        options: the SessionOptions, to which the weights are added.
    """
    weights = {name: content for name, content in files.items() if not name.endswith(".onnx")}
    if weights:
        lengths = [len(content) for content in weights.values()]
        options.add_external_initializers_from_files_in_memory(list(weights), list(weights.values()), lengths)
    # Weights that are not among the files are refused; the runtime would look for them in the working directory.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return files[path.name]
