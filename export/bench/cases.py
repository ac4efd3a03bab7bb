"""What is timed of a model: its graphs at the batches and lengths of its task's record. Knows runners, no clock."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.bundle import Bundle
from runtime.opening import OpenSet, step_runner


@dataclass(frozen=True)
class Case:
    """One graph at one shape.

    Attributes:
        graph: its name.
        batch: rows.
        length: positions of each row's input, or of the source that its step reads; 1 for a step alone.
        is_decisive: whether the choice depends on it: what a request spends its time in.
    """

    graph: str
    batch: int
    length: int = 1
    is_decisive: bool = False

    def __str__(self) -> str:
        """As a table shows it."""
        return f"{self.graph} {self.batch}" + (f" x {self.length}" if self.length > 1 else "")


def cases_of(bundle: Bundle) -> tuple[Case, ...]:
    """What is timed of a bundle, by its task's record."""
    return tuple(
        Case(graph.name, batch, length, graph.is_decisive)
        for graph in bundle.task.graphs
        for batch, length in graph.bench
    )


def prepared(case: Case, bundle: Bundle, opened: OpenSet) -> Callable[[], object]:
    """A call that runs the case once, everything around it done. Rows of a step stay where they are.

    Raises:
        RunnerError: the backend cannot run the case.
    """
    task = bundle.task
    inputs = task.graph(case.graph).random_inputs(bundle.sizes, batch=case.batch, length=case.length)
    steps = step_runner(opened, task, 2 * case.batch) if task.graph(case.graph).kind == "step" else None
    if steps is None:
        sequences = opened.sequences()
        return lambda: sequences.run(case.graph, inputs)
    for slot in range(case.batch):
        kept = {tensor.name: inputs[tensor.name][slot, : case.length] for tensor in task.row_tensors}
        steps.put(slot, inputs["state"][slot], kept or None)
    in_place = np.arange(case.batch)
    return lambda: steps.step(inputs["token"], in_place)
