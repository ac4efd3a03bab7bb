"""Nodes and constants whose results nobody takes, removed. Every rewrite ends with it."""

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


def names_taken(node: onnx.NodeProto) -> set[str]:
    """The values that a node reads, those that its bodies read included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                names |= names_taken(inner)
    return names
