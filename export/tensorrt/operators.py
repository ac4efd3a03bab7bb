"""Before an engine is built: every node and attribute of a graph against what TensorRT reads, refused by name.

TensorRT's own parser says less, later, and not where: it stops at the first node, and computes some things otherwise
without a word (`layout` of GRU and RNN, seeds, double).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from export.tensorrt.restrictions import Complaint, Facts, complaints
from export.tensorrt.supported import INSTEAD, OPERATORS, OPSETS, OTHERWISE, QUANTIZED, TYPES
from models.errors import UnsupportedModelError

_SHOWN = 5  # complaints in one message


def check_operators(graph: str, model: onnx.ModelProto) -> None:
    """Refuse a graph that TensorRT does not read, or computes otherwise.

    Args:
        graph: its name, for messages.
        model: with its constants at hand, as onnx.load gives it.

    Raises:
        UnsupportedModelError: naming each node, attribute and value, why, and what to do.
    """
    found = list(refusals(model))
    if found:
        more = f" And {len(found) - _SHOWN} more." if len(found) > _SHOWN else ""
        raise UnsupportedModelError(f"TensorRT cannot run graph {graph}. {' '.join(found[:_SHOWN])}{more}")


def refusals(model: onnx.ModelProto) -> Iterator[str]:
    """One sentence for each thing that TensorRT does not do."""
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and opset.version not in OPSETS:
            yield f"Opset {opset.version} is not read: {OPSETS[0]} to {OPSETS[-1]} are; export with opset 20."
    for node in _nodes(model.graph):
        if _is_read(node):
            continue
        domain = f" of domain {node.domain}" if node.domain else ""
        instead = INSTEAD.get(node.op_type, OTHERWISE)
        yield f"{_where(node)}: operator {node.op_type}{domain} is not read; {instead}."
    facts = _facts(model)
    for node in _nodes(model.graph):
        if _is_read(node):
            for complaint in complaints(node, facts):
                yield f"{_where(node)}: {_words(complaint)}."
            yield from _refused_types(_where(node), node, facts)


def _is_read(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in OPERATORS


def _where(node: onnx.NodeProto) -> str:
    return f"Node {node.name or node.output[0]} ({node.op_type})"


def _words(complaint: Complaint) -> str:
    return f"{complaint.what} is {complaint.value}: {complaint.why}; {complaint.instead}"


def _refused_types(where: str, node: onnx.NodeProto, facts: Facts) -> Iterator[str]:
    allowed = TYPES | QUANTIZED if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Constant") else TYPES
    for name in (*node.input, *node.output):
        dtype = facts.types.get(name)
        if dtype is not None and dtype not in allowed:
            kind = TensorProto.DataType.Name(dtype)
            yield f"{where}: value {name} is {kind}, which is not computed as such; use float32, int32 or int64."


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Of the graph and of the bodies inside it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _facts(model: onnx.ModelProto) -> Facts:
    constants: dict[str, NDArray[Any]] = {}
    types: dict[str, int] = {}
    shapes: dict[str, tuple[int | None, ...]] = {}
    for graph in _graphs(shape_inference.infer_shapes(model, data_prop=True).graph):
        for tensor in graph.initializer:
            constants[tensor.name] = numpy_helper.to_array(tensor)
            types[tensor.name], shapes[tensor.name] = tensor.data_type, tuple(tensor.dims)
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute:
                constants.update(_constant(node))
        for value in (*graph.input, *graph.value_info, *graph.output):
            tensor_type = value.type.tensor_type
            if tensor_type.elem_type:
                types[value.name] = tensor_type.elem_type
            if tensor_type.HasField("shape"):
                shapes[value.name] = tuple(
                    dimension.dim_value if dimension.HasField("dim_value") else None
                    for dimension in tensor_type.shape.dim
                )
    return Facts(constants, types, shapes)


def _constant(node: onnx.NodeProto) -> dict[str, NDArray[Any]]:
    attribute = node.attribute[0]
    if attribute.name == "value":
        return {node.output[0]: numpy_helper.to_array(attribute.t)}
    if attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
        return {node.output[0]: np.asarray(helper.get_attribute_value(attribute))}
    return {}
