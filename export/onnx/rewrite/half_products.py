"""Weights in float16, and products with a weight computed in it; everything else stays float32.

The rule of mixed precision (Micikevicius et al. 2018): what is read most and multiplied is half as wide; what adds up
or must not overflow is not. So a MatMul or Gemm with a constant matrix takes its input as float16 and gives its result
back as float32, where the bias is added. Activations, cell states, softmax, its masks of -1e9 and products of two
computed values stay float32.

The recurrent operators and the last product, which makes the logits, take their float16 weights as float32: TensorRT's
importer compares a masked step with a float32 zero, which a strongly typed network refuses beside float16, and logits
in float16 have ties.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.onnx.rewrite.pruning import prune
from models.errors import ExportError

RECURRENT = ("LSTM", "GRU", "RNN")
_LOGITS = "logits"
_VIEWS = ("Add", "Identity", "Squeeze", "Unsqueeze", "Transpose", "Reshape")  # between the last product and the logits


def half_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Rewrite the main graph; its inputs and outputs keep their types.

    Args:
        model: in float32, without bodies. Changed in place.

    Returns:
        The same model.

    Raises:
        ExportError: a weight is beyond what float16 holds.
    """
    writer = _Writer(model.graph)
    last = _last_products(model.graph)
    for node in list(model.graph.node):
        writer.add(node, is_last=node.name in last)
    del model.graph.node[:]
    model.graph.node.extend(writer.nodes)
    model.graph.initializer.extend(writer.constants.values())
    return prune(model)


class _Writer:
    """The new nodes, and which values exist in float16 as well."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._arrays = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in graph.initializer
            if tensor.data_type == TensorProto.FLOAT
        }
        self._halves: dict[str, str] = {}

    def add(self, node: onnx.NodeProto, *, is_last: bool) -> None:
        """Add a node, or what stands for it."""
        if node.op_type in RECURRENT:
            for index in (1, 2):
                node.input[index] = self._widened(node.input[index])
        elif node.op_type in ("Gather", "Transpose") and self._is_matrix(node.input[0]):  # rows, or a weight turned
            weight, result = self._weight(node.input[0]), node.output[0]
            node.input[0], node.output[0] = weight, f"{result}.half"
            self.nodes.append(node)
            self._cast(f"{result}.half", result, TensorProto.FLOAT)
            self._halves[result] = f"{result}.half"
            return
        elif node.op_type in ("MatMul", "Gemm") and self._is_matrix(node.input[1]):
            if is_last:
                node.input[1] = self._widened(node.input[1])
            else:
                self._add_product(node)
                return
        self.nodes.append(node)

    def _add_product(self, node: onnx.NodeProto) -> None:
        bias = node.input[2] if len(node.input) > 2 else ""
        result = node.output[0]
        product = f"{result}.product" if bias else result
        inputs = [self._half(node.input[0]), self._weight(node.input[1])]
        half = helper.make_node(node.op_type, inputs, [f"{result}.half"], name=node.name or result)
        half.attribute.extend(attribute for attribute in node.attribute if attribute.name in ("transA", "transB"))
        self.nodes.append(half)
        self._cast(f"{result}.half", product, TensorProto.FLOAT)
        if bias:
            self.nodes.append(helper.make_node("Add", [product, bias], [result], name=f"{result}.biased"))

    def _is_matrix(self, name: str) -> bool:
        array = self._arrays.get(name)
        return array is not None and array.ndim == 2 and min(array.shape) > 1

    def _half(self, value: str) -> str:
        """The value in float16, cast once."""
        if value not in self._halves:
            self._cast(value, f"{value}.half", TensorProto.FLOAT16)
            self._halves[value] = f"{value}.half"
        return self._halves[value]

    def _weight(self, name: str) -> str:
        """The constant in float16."""
        half = f"{name}.half"
        if half not in self.constants:
            with np.errstate(over="ignore"):
                array = self._arrays[name].astype(np.float16)
            if not np.isfinite(array).all():
                largest = float(np.abs(self._arrays[name]).max())
                raise ExportError(
                    f"Weight {name} holds {largest:.3g}; float16 ends at 65504. Use the set gpu-fp32 instead."
                )
            self.constants[half] = numpy_helper.from_array(array, half)
        return half

    def _widened(self, name: str) -> str:
        """The constant stored in float16, as float32."""
        wide = f"{name}.widened"
        if not any(wide in node.output for node in self.nodes):
            self._cast(self._weight(name), wide, TensorProto.FLOAT)
        return wide

    def _cast(self, value: str, result: str, dtype: int) -> None:
        self.nodes.append(helper.make_node("Cast", [value], [result], name=f"{result}.cast", to=dtype))


def _last_products(graph: onnx.GraphProto) -> set[str]:
    """Names of the products that make the logits."""
    makers = {name: node for node in graph.node for name in node.output}
    found, pending = set(), [_LOGITS]
    while pending:
        node = makers.get(pending.pop())
        if node is None:
            continue
        if node.op_type in ("MatMul", "Gemm"):
            found.add(node.name)
        elif node.op_type in _VIEWS:
            pending.extend(node.input)
    return found
