"""The one place that says which backend runs a graph set. Everything else knows the interfaces alone."""

from export.backends.onnxruntime.attention_run import OnnxAttentionStepRunner
from export.backends.onnxruntime.build import open_graph_set
from export.backends.onnxruntime.run import OnnxSequenceRunner, OnnxStepRunner
from export.backends.runner import AttentionStepRunner, SequenceRunner, StepRunner
from models.graph_set import GraphSet

CPU_SETS = ("int8", "fp32")  # what this machine can run, best first
BACKEND = "onnxruntime-cpu"


def open_generation(
    graph_set: GraphSet, *, state_width: int, capacity: int, threads: int
) -> tuple[StepRunner, SequenceRunner]:
    """The runners of a language model's graph set.

    Args:
        graph_set: opened and verified.
        state_width: D.
        capacity: slots of the step runner.
        threads: threads inside one operator.

    Raises:
        RunnerError: the runtime refuses the set.
    """
    graphs = open_graph_set(graph_set, threads=threads, graphs=("advance", "step"))
    return OnnxStepRunner(graphs, capacity, state_width), OnnxSequenceRunner(graphs)


def open_translation(
    graph_set: GraphSet, *, state_width: int, capacity: int, threads: int
) -> tuple[AttentionStepRunner, SequenceRunner]:
    """The runners of a translator's graph set; as `open_generation`."""
    graphs = open_graph_set(graph_set, threads=threads, graphs=("encode", "step"))
    return OnnxAttentionStepRunner(graphs, capacity, state_width), OnnxSequenceRunner(graphs)


def open_sentiment(graph_set: GraphSet, *, threads: int) -> SequenceRunner:
    """The runner of a classifier's graph set; as `open_generation`."""
    return OnnxSequenceRunner(open_graph_set(graph_set, threads=threads, graphs=("classify",)))
