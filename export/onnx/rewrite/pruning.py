"""Nodes and constants whose results nobody takes, removed: after a rewrite, or where fewer outputs are wanted."""

from collections.abc import Mapping

import onnx


def prune(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove what does not lead to an output of the main graph.

    Args:
        model: changed in place.

    Returns:
        The same model.
    """
    graph = model.graph
    wanted = {value.name for value in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(names_taken(node))
    for field, items in (
        (graph.node, kept[::-1]),
        (graph.initializer, [tensor for tensor in graph.initializer if tensor.name in wanted]),
        (graph.value_info, [value for value in graph.value_info if value.name in wanted]),
    ):
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del field[:]
        field.extend(copies)
    return model


def with_outputs(model: onnx.ModelProto, names: Mapping[str, str]) -> onnx.ModelProto:
    """A copy of a model with some of its outputs, under other names.

    Args:
        model: left as it is.
        names: output -> its new name, in the new order.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    outputs = {value.name: value for value in model.graph.output}
    del copy.graph.output[:]
    for old, new in names.items():
        copy.graph.output.append(outputs[old])
        copy.graph.output[-1].name = new
    for node in copy.graph.node:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
    return prune(copy)


def names_taken(node: onnx.NodeProto) -> set[str]:
    """The values that a node reads, those that its bodies read included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                names |= names_taken(inner)
    return names
