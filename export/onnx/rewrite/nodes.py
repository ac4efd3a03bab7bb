"""Nodes of a graph, and of the bodies of its loops and branches, replaced by others."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx

from export.onnx.graph import OnnxGraph


@dataclass(frozen=True)
class Place:
    """What is known where a node stands.

    Attributes:
        dtypes: of values, by name.
        shapes: likewise the axes, a number where it is fixed; of values whose rank is known.
        constants: by name, those of the graphs around it too.
        is_inside: in the body of a loop or branch.
    """

    dtypes: Mapping[str, int]
    shapes: Mapping[str, list[Any]]
    constants: Mapping[str, onnx.TensorProto]
    is_inside: bool


Replace = Callable[[OnnxGraph, onnx.NodeProto, Place], bool]


def replace_nodes(graph: onnx.GraphProto, prefix: str, replace: Replace, around: Place | None = None) -> None:
    """Replace nodes, in place. Bodies of a node that stays are looked at, those of what replaces it are not.

    Args:
        graph: the main one.
        prefix: of the new names; one for each rewrite of a model.
        replace: writes what stands for a node, with its output names, into an empty graph; False: the node stays.
        around: of a body, the place of its node.
    """
    values = (*graph.value_info, *graph.input, *graph.output)
    place = Place(
        {value.name: value.type.tensor_type.elem_type for value in values},
        {
            value.name: [axis.dim_value or axis.dim_param for axis in value.type.tensor_type.shape.dim]
            for value in values
            if value.type.tensor_type.HasField("shape")
        },
        {**(around.constants if around else {}), **{tensor.name: tensor for tensor in graph.initializer}},
        around is not None,
    )
    nodes: list[onnx.NodeProto] = []
    for index, node in enumerate(graph.node):
        piece = OnnxGraph(f"{prefix}{index}")
        piece.prefix = f"{prefix}{index}."
        if replace(piece, node, place):
            proto = piece.graph_proto()
            nodes.extend(proto.node)
            graph.initializer.extend(proto.initializer)
            continue
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                replace_nodes(attribute.g, piece.prefix, replace, place)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
