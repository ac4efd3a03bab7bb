"""From a graph set to TensorRT runners, by the engines of this machine's cache. Imports TensorRT when it is called."""

from typing import TYPE_CHECKING

from models.errors import RunnerError
from models.graph_set import GraphSet
from models.tasks import Sizes, Task
from runtime.padding import padded_length
from runtime.runner import AttentionStepRunner, DecodeRunner, SequenceRunner, StepRunner
from runtime.tensorrt.engines import GATHER, found_plans, num_slots

if TYPE_CHECKING:
    from runtime.tensorrt.step_graph import StepGraph


class TensorrtGraphs:
    """The engines of one graph set, opened.

    Args:
        graph_set: opened and verified; its engines were built before, by `python -m export tensorrt`.
        task: the bundle's.
        sizes: the bundle's.
        bundle_sha256: of the bundle's record.

    Attributes:
        graph_set: as it was given.
        max_length: tokens of the longest source or text; None for a task whose text has no end.

    Raises:
        RunnerError: TensorRT, a GPU or an engine is missing.
    """

    def __init__(self, graph_set: GraphSet, task: Task, sizes: Sizes, bundle_sha256: str) -> None:
        plans, self.limits = found_plans(graph_set, task, sizes, bundle_sha256)
        from runtime.tensorrt.engine import Engine

        self.graph_set = graph_set
        self._sizes = sizes
        self.max_length: int | None = None if task.max_length is None else self.limits.max_length
        self.engines = {graph: Engine(f"{graph_set.name} {graph}", plan) for graph, plan in plans.items()}

    def sequences(self) -> SequenceRunner:
        """The runner of the sequence graphs."""
        from runtime.tensorrt.run import TensorrtSequenceRunner

        return TensorrtSequenceRunner({name: it for name, it in self.engines.items() if name not in ("step", GATHER)})

    def steps(self, capacity: int) -> StepRunner:
        """The runner of the step, where rows keep nothing beside their state.

        Raises:
            RunnerError: the engines were built for fewer slots.
        """
        from runtime.tensorrt.run import TensorrtStepRunner

        return TensorrtStepRunner(self._step_graph(capacity), capacity)

    def attention_steps(self, capacity: int) -> AttentionStepRunner:
        """The runner of the step of a task with row tensors; as `steps`."""
        from runtime.tensorrt.attention_run import TensorrtAttentionStepRunner

        length = padded_length(self.limits.max_length)
        return TensorrtAttentionStepRunner(
            self._step_graph(capacity, length),
            capacity,
            memory_width=self._sizes["M"],
            keys_width=self._sizes["A"],
            max_length=length,
        )

    def decoder(self, capacity: int) -> DecodeRunner | None:  # noqa: ARG002 - the interface's
        """TensorRT steps one by one."""
        return None

    def beam_decoder(self, capacity: int, beam_size: int) -> DecodeRunner | None:  # noqa: ARG002 - the interface's
        """As `decoder`."""
        return None

    def has(self, graph: str) -> bool:
        """Whether an engine was found for a graph."""
        return graph in self.engines

    def close(self, graph: str) -> None:
        """Forget a graph's engine."""
        self.engines.pop(graph, None)

    def _step_graph(self, capacity: int, max_length: int = 0) -> "StepGraph":
        from runtime.tensorrt.step_graph import StepGraph

        slots = num_slots(self.limits)
        if capacity > slots:
            raise RunnerError(
                f"The engines were built for {slots} slots (batches of {self.limits.max_batch}), and {capacity} are "
                f"wanted. Build them for more: python -m export tensorrt BUNDLE --max-batch {-(-capacity // 2)}"
            )
        return StepGraph(
            self.engines["step"],
            self.engines[GATHER],
            num_slots=slots,
            state_width=self._sizes["D"],
            max_length=max_length,
        )
