"""A small builder of ONNX graphs: names, nodes, constants, subgraphs. Knows no operators' meanings and no torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
IR_VERSION = 10  # what onnxruntime 1.31.1 accepts; onnx 1.23.2's own default is newer

Dimension = str | int


class OnnxGraph:
    """One graph under construction.

    Args:
        name: the graph's name.
        parent: for the body of a Scan, the graph around it, whose constants and values the body may name.
    """

    def __init__(self, name: str, parent: "OnnxGraph | None" = None) -> None:
        self.name = name
        self._root: OnnxGraph = parent._root if parent else self
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._count = 0
        self.prefix = ""  # in front of every name, to keep two builders' names apart

    def unique(self, stem: str) -> str:
        """A name that no other value or node of the whole model has."""
        self._root._count += 1
        return f"{self._root.prefix}{stem}_{self._root._count}"

    def input(self, name: str, dtype: type[np.generic], shape: Sequence[Dimension] | None) -> str:
        """Declare an input; a string in the shape is a dynamic axis; shape None leaves even the rank open."""
        self._inputs.append(_value_info(name, dtype, shape))
        return name

    def output(self, value: str, name: str, dtype: type[np.generic], shape: Sequence[Dimension] | None) -> str:
        """Declare a value an output under a name of its own."""
        self.rename(value, name)
        self._outputs.append(_value_info(name, dtype, shape))
        return name

    def take_input(self, value: onnx.ValueInfoProto) -> str:
        """Declare an input of another graph as one of this."""
        self._inputs.append(value)
        return str(value.name)

    def result(self, value: str, dtype: type[np.generic]) -> None:
        """Declare a value an output of a body under its own name, without a copy; each value once."""
        self._outputs.append(_value_info(value, dtype, None))

    def take_node(self, node: onnx.NodeProto) -> None:
        """Add a node of another graph, whose names must be unique here too."""
        self._nodes.append(node)

    def take_constant(self, tensor: onnx.TensorProto) -> None:
        """Add a constant of another model, whose name must be unique here too."""
        self._root._constants[tensor.name] = tensor

    def constant(self, array: NDArray[Any] | np.generic, stem: str = "constant") -> str:
        """Add a constant to the model and return its name."""
        name = self.unique(stem)
        self._root._constants[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output and return that."""
        return self.nodes(operator, *inputs, outputs=1, **attributes)[0]

    def nodes(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Add a node of several outputs and return them."""
        names = [self.unique(operator) for _ in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), names, name=names[0], **attributes))
        return names

    def rename(self, value: str, name: str) -> None:
        """Give a value a name that somebody outside expects."""
        self._nodes.append(helper.make_node("Identity", [value], [name], name=self.unique("Identity")))

    def split(self, value: str, sizes: Sequence[int], axis: int = 1) -> list[str]:
        """Split a value into parts of the given sizes."""
        if len(sizes) == 1:
            return [value]
        return self.nodes("Split", value, self.constant(np.array(sizes, np.int64)), outputs=len(sizes), axis=axis)

    def graph_proto(self) -> onnx.GraphProto:
        """The graph; of a body, without constants, which lie in the root."""
        return helper.make_graph(
            self._nodes, self.name, self._inputs, self._outputs, list(self._constants.values()) or None
        )

    def model(self, like: onnx.ModelProto | None = None) -> onnx.ModelProto:
        """The whole model, checked.

        Args:
            like: a model whose nodes were taken, for its operator sets and functions.

        Raises:
            onnx.checker.ValidationError: the graph is not well formed; a bug of the caller.
        """
        opsets = [helper.make_opsetid("", OPSET)] if like is None else list(like.opset_import)
        functions = [] if like is None else list(like.functions)
        model = helper.make_model(
            self.graph_proto(),
            opset_imports=opsets,
            functions=functions,
            ir_version=IR_VERSION,
            producer_name="rnnserve",
        )
        onnx.checker.check_model(model)
        return model


def _value_info(name: str, dtype: type[np.generic], shape: Sequence[Dimension] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


FLOAT = int(TensorProto.FLOAT)
