"""What runs the graphs that are verified.

The measuring knows runners alone (runtime.runner). On the CPU every set runs, from files that need not be
published yet; any other backend opens a published set as the server does (runtime.opening).
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from export.onnx.rewrite.half_emulated import half_emulated
from export.parity.limits import CPU_BACKEND
from models.bundle import Bundle
from models.errors import BackendMissingError, ExportError
from runtime.onnxruntime.attention_run import OnnxAttentionStepRunner
from runtime.onnxruntime.build import Graphs, open_session
from runtime.onnxruntime.decode_run import OnnxDecodeRunner
from runtime.onnxruntime.run import OnnxSequenceRunner, OnnxStepRunner
from runtime.opening import BACKENDS, OpenGraphs, OpenSet, open_set, why_unavailable
from runtime.runner import Array, AttentionStepRunner, DecodeRunner, SequenceRunner, StepRunner

SCORE = "score"
_SCORED_ROWS = 66  # more than any batch that is scored


class OnnxRuntimeCpu:
    """Any set on ONNX Runtime's CPU provider; the gpu sets too, to check their format.

    The provider has no float16 products, so gpu-fp16 is opened as it is and then run with its rounding emulated.

    Args:
        set_name: for messages.
        files: graph name -> ONNX file.
        state_width: D.
    """

    def __init__(self, set_name: str, files: Mapping[str, Path], state_width: int) -> None:
        self._width = state_width
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

    def steps(self, capacity: int) -> StepRunner:
        """See OpenGraphs.steps."""
        return OnnxStepRunner(self._graphs, capacity, self._width)

    def attention_steps(self, capacity: int) -> AttentionStepRunner:
        """See OpenGraphs.attention_steps."""
        return OnnxAttentionStepRunner(self._graphs, capacity, self._width)

    def decoder(self, capacity: int) -> DecodeRunner | None:
        """See OpenGraphs.decoder."""
        return OnnxDecodeRunner(self._graphs, capacity, self._width) if self.has("decode") else None

    def beam_decoder(self, capacity: int, beam_size: int) -> DecodeRunner | None:
        """See OpenGraphs.beam_decoder."""
        if not self.has("decode_beam"):
            return None
        return OnnxDecodeRunner(self._graphs, capacity, self._width, beam_size)

    def has(self, graph: str) -> bool:
        """See OpenGraphs.has."""
        return graph in self._graphs.sessions


class SteppedScore:
    """A SequenceRunner that answers `score` token by token, for backends that open what a server needs and no more.

    Args:
        sequences: answers every other graph.
        steps: with a slot for each row.
    """

    def __init__(self, sequences: SequenceRunner, steps: StepRunner) -> None:
        self._sequences = sequences
        self._steps = steps

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See SequenceRunner.run. Past a row's length its logits are of no meaning."""
        if graph != SCORE:
            return self._sequences.run(graph, inputs)
        ids, lengths, states = inputs["ids"], inputs["lengths"], inputs["state"].copy()
        for slot, state in enumerate(states):
            self._steps.put(slot, state)
        parents = np.arange(len(ids))
        logits = []
        for column in range(ids.shape[1]):
            logits.append(self._steps.step(np.ascontiguousarray(ids[:, column]), parents).copy())
            for row in np.flatnonzero(lengths == column + 1).tolist():
                states[row] = self._steps.get(row)
        return {"logits": np.stack(logits, axis=1), "new_state": states}


class Served:
    """A set as the server opens it, on any backend.

    Args:
        bundle: the model.
        opened: by runtime.opening.
    """

    def __init__(self, bundle: Bundle, opened: OpenSet) -> None:
        self._has_score = any(graph.name == SCORE and not graph.is_served for graph in bundle.task.graphs)
        self._opened = opened

    def sequences(self) -> SequenceRunner:
        """See OpenGraphs.sequences; `score`, which a server does not open, is made of steps."""
        sequences = self._opened.sequences()
        return SteppedScore(sequences, self._opened.steps(_SCORED_ROWS)) if self._has_score else sequences

    def steps(self, capacity: int) -> StepRunner:
        """See OpenGraphs.steps."""
        return self._opened.steps(capacity)

    def attention_steps(self, capacity: int) -> AttentionStepRunner:
        """See OpenGraphs.attention_steps."""
        return self._opened.attention_steps(capacity)

    def decoder(self, capacity: int) -> DecodeRunner | None:
        """See OpenGraphs.decoder."""
        return self._opened.decoder(capacity)

    def beam_decoder(self, capacity: int, beam_size: int) -> DecodeRunner | None:
        """See OpenGraphs.beam_decoder."""
        return self._opened.beam_decoder(capacity, beam_size)

    def has(self, graph: str) -> bool:
        """See OpenGraphs.has."""
        return self._opened.has(graph)


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
        return OnnxRuntimeCpu(set_name, files, bundle.record.state_width)
    if backend not in BACKENDS:
        raise ExportError(f"Backend {ascii(backend)[:80]} cannot verify. Backends: {', '.join(BACKENDS)}.")
    missing = why_unavailable(backend)
    if missing is not None:
        raise BackendMissingError(missing)
    return Served(bundle, open_set(backend, bundle, set_name))
