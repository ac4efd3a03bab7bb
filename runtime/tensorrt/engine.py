"""An engine with one context for each of its profiles. Knows names, shapes and addresses; knows nothing of slots."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorrt as trt

from models.errors import RunnerError
from runtime.tensorrt.messages import Errors

Shape = tuple[int, ...]
_DTYPES: dict[trt.DataType, np.dtype[Any]] = {
    trt.DataType.FLOAT: np.dtype(np.float32),
    trt.DataType.HALF: np.dtype(np.float16),
    trt.DataType.INT32: np.dtype(np.int32),
    trt.DataType.INT64: np.dtype(np.int64),
    trt.DataType.BOOL: np.dtype(np.bool_),
}


@dataclass(frozen=True)
class Bound:
    """Where a tensor lies, and as what: an address on the device that outlives every run, and a shape."""

    address: int
    shape: Shape


class Engine:
    """A deserialized engine.

    Args:
        name: for messages.
        plan: as built on this machine; an engine is code, so it comes from this machine's own cache alone.

    Raises:
        RunnerError: TensorRT refuses the plan.
    """

    def __init__(self, name: str, plan: bytes) -> None:
        self.name = name
        self._errors = Errors()
        self._runtime = trt.Runtime(self._errors)  # kept, as the engine uses it
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise RunnerError(f"TensorRT {trt.__version__} refuses the engine {name}: {self._errors.taken()}.")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self.inputs = [tensor for tensor in names if self._is_input(tensor)]
        self.outputs = [tensor for tensor in names if not self._is_input(tensor)]
        self._largest = {
            tensor: [self._profile_shapes(tensor, profile)[2] for profile in range(self.num_profiles)]
            for tensor in self.inputs
        }
        self._smallest = {
            tensor: [self._profile_shapes(tensor, profile)[0] for profile in range(self.num_profiles)]
            for tensor in self.inputs
        }
        self._executions: dict[int, Execution] = {}

    @property
    def num_profiles(self) -> int:
        """How many profiles it was built with."""
        return int(self._engine.num_optimization_profiles)

    def dtype(self, tensor: str) -> np.dtype[Any]:
        """The type of an input or output."""
        return _DTYPES[self._engine.get_tensor_dtype(tensor)]

    def static_shape(self, tensor: str) -> Shape:
        """The shape of a tensor, -1 where it is dynamic."""
        return _shape(self._engine.get_tensor_shape(tensor))

    def largest(self, tensor: str, profile: int) -> Shape:
        """The largest shape of an input in a profile."""
        return self._largest[tensor][profile]

    def profile_of(self, shapes: Mapping[str, Shape]) -> int:
        """The first profile that holds these shapes of inputs; those of other inputs are not looked at.

        Raises:
            RunnerError: none does; the message says what each holds.
        """
        for profile in range(self.num_profiles):
            if all(self._holds(tensor, profile, shape) for tensor, shape in shapes.items()):
                return profile
        held = "; ".join(
            ", ".join(
                f"{tensor} {self._smallest[tensor][profile]} to {self._largest[tensor][profile]}" for tensor in shapes
            )
            for profile in range(self.num_profiles)
        )
        raise RunnerError(
            f"Engine {self.name} was not built for {dict(shapes)}; it holds {held}. Build it for more: "
            "python -m export tensorrt BUNDLE --max-batch N --max-length N"
        )

    def execution(self, profile: int, stream: int) -> "Execution":
        """The context of a profile, made when it is first asked for.

        Args:
            profile: its number.
            stream: the handle of the stream that it will run on.

        Raises:
            RunnerError: TensorRT gives no context.
        """
        if profile not in self._executions:
            context = self._engine.create_execution_context()
            if context is None or not context.set_optimization_profile_async(profile, stream):
                raise RunnerError(f"Engine {self.name} has no context for profile {profile}: {self._errors.taken()}.")
            self._executions[profile] = Execution(self.name, context, self._errors)
        return self._executions[profile]

    def _is_input(self, tensor: str) -> bool:
        return bool(self._engine.get_tensor_mode(tensor) == trt.TensorIOMode.INPUT)

    def _profile_shapes(self, tensor: str, profile: int) -> list[Shape]:
        return [_shape(dims) for dims in self._engine.get_tensor_profile_shape(tensor, profile)]

    def _holds(self, tensor: str, profile: int, shape: Shape) -> bool:
        low, high = self._smallest[tensor][profile], self._largest[tensor][profile]
        return len(shape) == len(low) and all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))


class Execution:
    """One context, with the shapes and addresses that were set last."""

    def __init__(self, name: str, context: trt.IExecutionContext, errors: Errors) -> None:
        self._name = name
        self._context = context
        self._errors = errors
        self._bound: dict[str, Bound] = {}

    def bind(self, inputs: Mapping[str, Bound], outputs: Mapping[str, int]) -> bool:
        """Set shapes and addresses, where they are not so already.

        Args:
            inputs: every input.
            outputs: address of every output; its memory holds the output's shape.

        Returns:
            Whether anything changed, so that what was captured before holds no more.

        Raises:
            RunnerError: TensorRT refuses one.
        """
        wanted = {**inputs, **{name: Bound(address, ()) for name, address in outputs.items()}}
        changed = {name: bound for name, bound in wanted.items() if self._bound.get(name) != bound}
        for name, bound in changed.items():
            is_set = name not in inputs or self._context.set_input_shape(name, bound.shape)
            if not is_set or not self._context.set_tensor_address(name, bound.address):
                raise RunnerError(f"Engine {self._name} refuses {name} as {bound.shape}: {self._errors.taken()}.")
            self._bound[name] = bound
        if changed:
            missing = self._context.infer_shapes()
            if missing:
                raise RunnerError(f"Engine {self._name} lacks the shapes of {', '.join(missing)}.")
        return bool(changed)

    def shape(self, tensor: str) -> Shape:
        """The shape of a tensor with the inputs as bound."""
        return _shape(self._context.get_tensor_shape(tensor))

    def enqueue(self, stream: int) -> None:
        """Run on a stream.

        Raises:
            RunnerError: TensorRT refuses; nothing has run.
        """
        if not self._context.execute_async_v3(stream):
            raise RunnerError(f"Engine {self._name} failed: {self._errors.taken()}.")


def _shape(dims: trt.Dims) -> Shape:
    return tuple(dims[axis] for axis in range(len(dims)))
