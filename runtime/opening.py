"""The one place that knows the backends by name: which there are, which graph sets each runs, and how a set is opened.

A backend's own modules are imported when it is asked for, so that a machine needs the libraries of those it uses alone.
"""

from collections.abc import Mapping
from typing import Protocol

from models.bundle import Bundle
from models.errors import ConfigError
from models.graph_set import GraphSet
from models.tasks import Task
from runtime.runner import Array, AttentionStepRunner, DecodeRunner, SequenceRunner, StepRunner

TENSORRT, CUDA, CPU = "tensorrt", "onnxruntime-cuda", "onnxruntime-cpu"
# backend -> graph sets that it runs; both best first where nothing was measured
SETS = {TENSORRT: ("gpu-fp16", "gpu-fp32"), CUDA: ("gpu-fp16", "gpu-fp32"), CPU: ("int8", "fp32")}
BACKENDS = tuple(SETS)


class OpenGraphs(Protocol):
    """The graphs of one set on one backend; what its task has decides which runners there are."""

    def sequences(self) -> SequenceRunner:
        """The runner of the graphs that take sequences."""

    def steps(self, capacity: int) -> StepRunner:
        """The runner of the step, with so many slots, where rows keep nothing beside their state.

        Raises:
            RunnerError: it was built for fewer.
        """

    def attention_steps(self, capacity: int) -> AttentionStepRunner:
        """The runner of the step of a task with row tensors; as `steps`."""

    def decoder(self, capacity: int) -> DecodeRunner | None:
        """The runner of `decode`, with so many slots; None where the set or the backend has none."""

    def beam_decoder(self, capacity: int, beam_size: int) -> DecodeRunner | None:
        """The runner of `decode_beam` for searches of one beam size, with a slot for each; None as for `decoder`."""

    def has(self, graph: str) -> bool:
        """Whether a graph was opened."""


class OpenSet(OpenGraphs, Protocol):
    """One published graph set on one backend: the graphs that a server opens, by the task's record."""

    @property
    def graph_set(self) -> GraphSet:
        """The set, as it lies on disk."""

    @property
    def max_length(self) -> int | None:
        """The longest source or text, in tokens, that it was opened for; None where there is no limit."""

    def close(self, graph: str) -> None:
        """Give back a graph that no runner is made of; no-op where it is not open."""


def step_runner(opened: OpenGraphs, task: Task, capacity: int) -> StepRunner | None:
    """The runner of a task's step, whichever it has; None for a task that feeds no answer back into a step."""
    if task.feeds_back == "none":
        return None
    return opened.attention_steps(capacity) if task.row_tensors else opened.steps(capacity)


def open_set(backend: str, bundle: Bundle, set_name: str, *, threads: int = 1) -> OpenSet:
    """Open the graphs of a bundle that serving needs.

    Args:
        backend: one of BACKENDS.
        bundle: the model.
        set_name: one of SETS[backend].
        threads: of the CPU's runtime inside one operator.

    Raises:
        ConfigError: no such backend, or it does not run such a set.
        BundleError: the bundle has no such set, or a file of it is not what its manifest says.
        BackendMissingError: the machine lacks the backend.
        RunnerError: the backend refuses the set.
    """
    if set_name not in SETS.get(backend, ()):
        runs = "; ".join(f"{name} runs {' and '.join(sets)}" for name, sets in SETS.items())
        raise ConfigError(
            f"Backend {ascii(backend)[:80]} does not run graph set {ascii(set_name)[:80]}. Backends: {runs}."
        )
    graph_set = bundle.graph_set(set_name)
    match backend:
        case "tensorrt":
            from runtime.tensorrt.graphs import TensorrtGraphs

            return TensorrtGraphs(graph_set, bundle.task, bundle.sizes, bundle.record.sha256)
        case "onnxruntime-cuda":
            return _OnCuda(graph_set, bundle)
        case _:
            return _OnCpu(graph_set, bundle, threads)


def combined(opened: Mapping[str, OpenSet], set_of_graphs: Mapping[str, str]) -> OpenGraphs:
    """Graphs of several open sets as those of one.

    Args:
        opened: by the set's name; graphs that are taken from another set are closed.
        set_of_graphs: graph -> set, for every graph of the task.
    """
    for graph, chosen in set_of_graphs.items():
        for name, graphs in opened.items():
            if name != chosen:
                graphs.close(graph)
    return _Combined({graph: opened[name] for graph, name in set_of_graphs.items()})


def why_unavailable(backend: str) -> str | None:
    """One sentence on why this machine cannot run a backend, or None where it can. Opens no model.

    Args:
        backend: one of BACKENDS.
    """
    if backend == TENSORRT:
        from runtime.tensorrt.availability import why_unavailable as why_no_tensorrt

        return why_no_tensorrt()
    if backend == CUDA:
        from runtime.onnxruntime_cuda.build import Device
        from runtime.onnxruntime_cuda.build import why_unavailable as why_no_cuda

        return why_no_cuda(Device())
    return None


def _served(graph_set: GraphSet, bundle: Bundle) -> tuple[str, ...]:
    return tuple(graph.name for graph in bundle.task.served_graphs(graph_set.manifest.graphs))


class _Combined:
    def __init__(self, opened: Mapping[str, OpenSet]) -> None:
        self._opened = opened

    def sequences(self) -> SequenceRunner:
        return _CombinedSequences({graph: opened.sequences() for graph, opened in self._opened.items()})

    def steps(self, capacity: int) -> StepRunner:
        return self._opened["step"].steps(capacity)

    def attention_steps(self, capacity: int) -> AttentionStepRunner:
        return self._opened["step"].attention_steps(capacity)

    def decoder(self, capacity: int) -> DecodeRunner | None:
        return self._opened["decode"].decoder(capacity)

    def beam_decoder(self, capacity: int, beam_size: int) -> DecodeRunner | None:
        return self._opened["decode_beam"].beam_decoder(capacity, beam_size)

    def has(self, graph: str) -> bool:
        return graph in self._opened and self._opened[graph].has(graph)


class _CombinedSequences:
    def __init__(self, runners: Mapping[str, SequenceRunner]) -> None:
        self._runners = runners

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._runners[graph].run(graph, inputs)


class _OnCpu:
    max_length = None

    def __init__(self, graph_set: GraphSet, bundle: Bundle, threads: int) -> None:
        from runtime.onnxruntime.build import open_graph_set

        self.graph_set = graph_set
        self._graphs = open_graph_set(graph_set, threads=threads, graphs=_served(graph_set, bundle))
        self._width = bundle.record.state_width

    def sequences(self) -> SequenceRunner:
        from runtime.onnxruntime.run import OnnxSequenceRunner

        return OnnxSequenceRunner(self._graphs)

    def steps(self, capacity: int) -> StepRunner:
        from runtime.onnxruntime.run import OnnxStepRunner

        return OnnxStepRunner(self._graphs, capacity, self._width)

    def attention_steps(self, capacity: int) -> AttentionStepRunner:
        from runtime.onnxruntime.attention_run import OnnxAttentionStepRunner

        return OnnxAttentionStepRunner(self._graphs, capacity, self._width)

    def decoder(self, capacity: int) -> DecodeRunner | None:
        from runtime.onnxruntime.decode_run import OnnxDecodeRunner

        return OnnxDecodeRunner(self._graphs, capacity, self._width) if self.has("decode") else None

    def beam_decoder(self, capacity: int, beam_size: int) -> DecodeRunner | None:
        from runtime.onnxruntime.decode_run import OnnxDecodeRunner

        if not self.has("decode_beam"):
            return None
        return OnnxDecodeRunner(self._graphs, capacity, self._width, beam_size)

    def has(self, graph: str) -> bool:
        return graph in self._graphs.sessions

    def close(self, graph: str) -> None:
        self._graphs.sessions.pop(graph, None)


class _OnCuda:
    max_length = None

    def __init__(self, graph_set: GraphSet, bundle: Bundle) -> None:
        from runtime.onnxruntime_cuda.build import Device, open_graph_set

        self.graph_set = graph_set
        self._graphs = open_graph_set(graph_set, device=Device(), graphs=_served(graph_set, bundle))
        self._width = bundle.record.state_width

    def sequences(self) -> SequenceRunner:
        from runtime.onnxruntime.run import OnnxSequenceRunner

        return OnnxSequenceRunner(self._graphs)

    def steps(self, capacity: int) -> StepRunner:
        from runtime.onnxruntime_cuda.run import CudaStepRunner

        return CudaStepRunner(self._graphs, capacity, self._width)

    def attention_steps(self, capacity: int) -> AttentionStepRunner:
        from runtime.onnxruntime_cuda.attention_run import CudaAttentionStepRunner

        return CudaAttentionStepRunner(self._graphs, capacity, self._width)

    def decoder(self, capacity: int) -> DecodeRunner | None:  # noqa: ARG002 - the interface's
        return None

    def beam_decoder(self, capacity: int, beam_size: int) -> DecodeRunner | None:  # noqa: ARG002 - the interface's
        return None

    def has(self, graph: str) -> bool:
        return graph in self._graphs.sessions

    def close(self, graph: str) -> None:
        self._graphs.sessions.pop(graph, None)
