"""What runs the graphs that are verified: backends by name, each a function from files to runners.

The measuring knows runners alone (export.backends.runner). To verify on another backend, add its opener to BACKENDS.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import onnx

from export.backends.onnxruntime.attention_run import OnnxAttentionStepRunner
from export.backends.onnxruntime.build import Graphs, open_session
from export.backends.onnxruntime.run import OnnxSequenceRunner, OnnxStepRunner
from export.backends.runner import AttentionStepRunner, SequenceRunner, StepRunner
from export.parity.limits import CPU_BACKEND
from export.rewrite.half_emulated import half_emulated
from models.errors import ExportError


class OpenGraphs(Protocol):
    """One graph set, opened by a backend."""

    def sequences(self) -> SequenceRunner:
        """Over every graph but `step`."""

    def steps(self, capacity: int, state_width: int) -> StepRunner:
        """Over a language model's `step`."""

    def attention_steps(self, capacity: int, state_width: int) -> AttentionStepRunner:
        """Over a translator's `step`."""


Opener = Callable[[str, Mapping[str, Path]], OpenGraphs]


class OnnxRuntimeCpu:
    """Any set on ONNX Runtime's CPU provider; the gpu sets too, to check their format.

    The provider has no float16 products, so gpu-fp16 is opened as it is and then run with its rounding emulated.

    Args:
        set_name: for messages.
        files: graph name -> ONNX file.
    """

    def __init__(self, set_name: str, files: Mapping[str, Path]) -> None:
        sessions = {graph: open_session(file) for graph, file in files.items()}
        if set_name == "gpu-fp16":
            with TemporaryDirectory() as folder:
                for graph, file in files.items():
                    emulated = Path(folder) / file.name
                    onnx.save_model(half_emulated(onnx.load(str(file))), str(emulated))
                    sessions[graph] = open_session(emulated)
        self._graphs = Graphs(set_name, sessions)

    def sequences(self) -> SequenceRunner:
        """See OpenGraphs.sequences."""
        return OnnxSequenceRunner(self._graphs)

    def steps(self, capacity: int, state_width: int) -> StepRunner:
        """See OpenGraphs.steps."""
        return OnnxStepRunner(self._graphs, capacity, state_width)

    def attention_steps(self, capacity: int, state_width: int) -> AttentionStepRunner:
        """See OpenGraphs.attention_steps."""
        return OnnxAttentionStepRunner(self._graphs, capacity, state_width)


BACKENDS: dict[str, Opener] = {CPU_BACKEND: OnnxRuntimeCpu}


def open_graphs(backend: str, set_name: str, files: Mapping[str, Path]) -> OpenGraphs:
    """Open a set's files with a backend.

    Args:
        backend: one of BACKENDS.
        set_name: the graph set.
        files: graph name -> ONNX file.

    Raises:
        ExportError: no such backend.
        RunnerError: the backend is missing here or refuses a graph.
    """
    if backend not in BACKENDS:
        raise ExportError(f"Backend {ascii(backend)[:80]} cannot verify. Backends: {', '.join(BACKENDS)}.")
    return BACKENDS[backend](set_name, files)
