"""What a model of frames takes and gives: named tensors, one value for each frame or one for a whole call. No torch.

Batch and time are left out of the shapes here: an input `frames` of shape [8] is [batch, time, 8] in the graph
`advance` and [batch, 8] in `step`.
"""

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.config import FrozenModel
from models.tasks import PADDING_MULTIPLE, Graph, Task, Tensor

DataType = Literal["float32", "int64", "int32", "bool"]
RESERVED = ("lengths", "state", "new_state")  # names of what every graph of a task has


class Port(FrozenModel):
    """One output, or what an input has in common with it.

    Attributes:
        has_time: whether each frame has one; else a call has one, an output's that after each row's last frame.
        has_own_steps: whether an output's time axis has another number of steps than the frames, as after a strided
            convolution; a model with such an output has no state.
    """

    name: Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$", max_length=80)]
    dtype: DataType
    shape: list[Annotated[int, Field(ge=1)]]
    has_time: bool = True
    has_own_steps: bool = False

    def tensor(self, graph: str) -> Tensor:
        """As the graph "advance" or "step" has it."""
        time = ("T",) if self.has_time and graph == "advance" else ()
        return Tensor(self.name, ("B", *time, *self.shape), self.dtype)


class InputPort(Port):
    """One input.

    Attributes:
        low: the least that an integer may be; of a float what is typical, as for `high`.
        high: the most.
        may_be_nan: whether the model knows what to do with NaN, such as a missing observation.
    """

    low: float | None = None
    high: float | None = None
    may_be_nan: bool = False

    @property
    def padding(self) -> float:
        """What stands past a row's end."""
        is_zero_allowed = self.low is None or self.high is None or self.low <= 0 <= self.high
        return 0.0 if is_zero_allowed or self.low is None else self.low

    @property
    def bytes_per_frame(self) -> int:
        """Bytes that one frame's value takes."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def wrong(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which of some values, of the input's dtype, it may not hold."""
        if self.dtype == "float32":
            not_finite: NDArray[np.bool_] = np.isinf(values) if self.may_be_nan else ~np.isfinite(values)
            return not_finite
        if self.dtype == "bool" or self.low is None or self.high is None:
            return np.zeros(values.shape, np.bool_)
        found: NDArray[np.bool_] = (values < self.low) | (values > self.high)
        return found

    def tensor(self, graph: str) -> Tensor:
        """See Port."""
        found = super().tensor(graph)
        if self.dtype == "bool":
            return replace(found, fill="range", low=0, high=1)
        if self.low is None or self.high is None:
            return replace(found, fill="normal")
        return replace(found, fill="range", low=self.low, high=self.high)


class Signature(FrozenModel):
    """All inputs and outputs of one model.

    Attributes:
        has_lengths: whether it is given each row's number of frames.
        least_frames: that a row has.
    """

    inputs: list[InputPort]
    outputs: list[Port]
    has_lengths: bool
    least_frames: Annotated[int, Field(ge=1, le=PADDING_MULTIPLE)] = 1

    @property
    def takes_padding(self) -> bool:
        """Whether rows of unlike length are read together."""
        return self.has_lengths and not any(port.has_own_steps for port in self.outputs)

    @property
    def timed_inputs(self) -> list[InputPort]:
        """The inputs that each frame has."""
        return [port for port in self.inputs if port.has_time]

    def task(self, task: Task, *, has_state: bool) -> Task:
        """A task's record with this model's tensors in its graphs; without a state, `advance` alone is left."""
        return replace(
            task,
            graphs=tuple(self._graph(graph, has_state) for graph in task.graphs if has_state or graph.name != "step"),
            has_state=has_state,
            session=task.session if has_state else "none",
        )

    def _graph(self, graph: Graph, has_state: bool) -> Graph:
        shared = [tensor for tensor in graph.inputs if (self.has_lengths if tensor.name == "lengths" else has_state)]
        found = replace(
            graph,
            inputs=(*(port.tensor(graph.name) for port in self.inputs), *shared),
            outputs=(*(port.tensor(graph.name) for port in self.outputs), *(graph.outputs if has_state else ())),
        )
        if has_state:
            return found
        return replace(found, max_time=None, padding_multiple=PADDING_MULTIPLE, bench=((1, 64), (16, 64)))
