"""What runs the graphs that are verified.

The measuring knows runners alone (runtime.runner). On the CPU every set runs, from files that need not be
published yet; any other backend opens a published set as the server does (runtime.opening).
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import onnx

from export.onnx.rewrite.half_emulated import half_emulated
from export.parity.limits import CPU_BACKEND
from export.parity.stepped_score import SteppedScore
from models.bundle import Bundle
from models.errors import BackendMissingError, ExportError
from runtime.onnxruntime.attention_run import OnnxAttentionStepRunner
from runtime.onnxruntime.build import Graphs, open_session
from runtime.onnxruntime.run import OnnxSequenceRunner, OnnxStepRunner
from runtime.opening import BACKENDS, OpenSet, open_set, why_unavailable
from runtime.runner import AttentionStepRunner, SequenceRunner, StepRunner

_SCORED_ROWS = 66  # more than any batch that is scored


class OpenGraphs(Protocol):
    """One graph set, opened by a backend."""

    def sequences(self) -> SequenceRunner:
        """Over every graph but `step`."""

    def steps(self, capacity: int, state_width: int) -> StepRunner:
        """Over a language model's `step`."""

    def attention_steps(self, capacity: int, state_width: int) -> AttentionStepRunner:
        """Over a translator's `step`."""


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


class Served:
    """A set as the server opens it, on any backend.

    Args:
        bundle: the model.
        opened: by runtime.opening.
    """

    def __init__(self, bundle: Bundle, opened: OpenSet) -> None:
        self._is_generation = bundle.record.task == "generation"
        self._opened = opened

    def sequences(self) -> SequenceRunner:
        """See OpenGraphs.sequences; a language model's `score` is made of steps."""
        sequences = self._opened.sequences()
        return SteppedScore(sequences, self._opened.steps(_SCORED_ROWS)) if self._is_generation else sequences

    def steps(self, capacity: int, state_width: int) -> StepRunner:
        """See OpenGraphs.steps."""
        assert state_width > 0, "a language model has a state"
        return self._opened.steps(capacity)

    def attention_steps(self, capacity: int, state_width: int) -> AttentionStepRunner:
        """See OpenGraphs.attention_steps."""
        assert state_width > 0, "a translator's decoder has a state"
        return self._opened.attention_steps(capacity)


def open_graphs(backend: str, bundle: Bundle, set_name: str, files: Mapping[str, Path]) -> OpenGraphs:
    """Open a set with a backend.

    Args:
        backend: one of runtime.opening.BACKENDS.
        bundle: the model.
        set_name: the graph set; for any backend but the CPU's it is published.
        files: graph name -> ONNX file.

    Raises:
        ExportError: no such backend.
        BackendMissingError: it is not on this machine.
        ConfigError: it does not run such a set.
        RunnerError: it refuses a graph.
    """
    if backend == CPU_BACKEND:
        return OnnxRuntimeCpu(set_name, files)
    if backend not in BACKENDS:
        raise ExportError(f"Backend {ascii(backend)[:80]} cannot verify. Backends: {', '.join(BACKENDS)}.")
    missing = why_unavailable(backend)
    if missing is not None:
        raise BackendMissingError(missing)
    return Served(bundle, open_set(backend, bundle, set_name))
