"""An exported graph as the diagnosis reads it: nodes of all bodies, constants, who makes and takes what."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from export.onnx.rewrite.pruning import names_taken

SEQUENCE_OPERATORS = ("LSTM", "GRU", "RNN", "Scan")


class Graph:
    """One file of a graph set.

    Args:
        name: the graph's: advance, step ...
        model: with its weights inside.

    Attributes:
        nodes: of the main graph and of every body.
        inputs: names of the graph's inputs.
    """

    def __init__(self, name: str, model: onnx.ModelProto) -> None:
        self.name = name
        self.model = model
        self.inputs = [value.name for value in model.graph.input]
        self.nodes = list(_all_nodes(model.graph))
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._arrays: dict[str, NDArray[Any]] = {}
        self._makers = {name: node for node in self.nodes for name in node.output}

    def constant(self, name: str) -> NDArray[Any] | None:
        """The array behind a name, when nothing but casts and slices of it lies between; else None."""
        if name not in self._arrays:
            node = self._makers.get(name)
            if name in self._stored:
                self._arrays[name] = numpy_helper.to_array(self._stored[name])
            elif node is not None and node.op_type in ("Cast", "Identity"):
                array = self.constant(node.input[0])
                if array is None:
                    return None
                self._arrays[name] = array
            elif node is not None and node.op_type == "Slice" and len(node.input) == 3:
                parts = [self.constant(part) for part in node.input]
                if any(part is None for part in parts):
                    return None
                array, start, end = (np.asarray(part) for part in parts)
                self._arrays[name] = array[int(start[0]) : int(end[0])]
            else:
                return None
        return self._arrays[name]

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a value."""
        return self._makers.get(name)

    def reached_from(self, source: str, *, through_layers: bool) -> set[str]:
        """Every value that a value has a part in; its shape alone is no part.

        Args:
            source: its name.
            through_layers: also by way of what recurrent operators and Scans give.
        """
        reached = {source}
        size = 0
        while len(reached) != size:
            size = len(reached)
            for node in self.nodes:
                is_layer = node.op_type in SEQUENCE_OPERATORS
                if node.op_type in ("Shape", "Size"):
                    continue
                if (through_layers or not is_layer) and not reached.isdisjoint(names_taken(node)):
                    reached.update(node.output)
        return reached

    def where(self, node: onnx.NodeProto) -> str:
        """How a message calls a node."""
        return f"{node.op_type} node {node.name or node.output[0]} in graph {self.name}"


def read_graph(name: str, path: Path) -> Graph:
    """Read a graph and its weights."""
    return Graph(name, onnx.load(str(path)))


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The value of a node's attribute."""
    found = next((item for item in node.attribute if item.name == name), None)
    return default if found is None else onnx.helper.get_attribute_value(found)


def _all_nodes(graph: onnx.GraphProto) -> "list[onnx.NodeProto]":
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for item in node.attribute:
            if item.HasField("g"):
                nodes.extend(_all_nodes(item.g))
        nodes.append(node)
    return nodes
