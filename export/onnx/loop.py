"""What `decode` and `decode_beam` share: how a step graph is taken into a loop, and what is carried of its state."""

from collections.abc import Mapping
from typing import NamedTuple

import onnx

from models.errors import ExportError


class State(NamedTuple):
    """What the loop carries of the state.

    Attributes:
        before: names in the step's graph of what it reads.
        after: names in the step's graph of what it leaves.
        sizes: of the parts; empty where the row is carried whole.
        lifted: nodes of the step that stay outside.
    """

    before: list[str]
    after: list[str]
    sizes: list[int]
    lifted: list[onnx.NodeProto]


def carried(step: onnx.ModelProto) -> State:
    """What the loop carries: the parts of the row where the step splits it first and joins it last, else the row."""
    whole = State(["state"], ["new_state"], [], [])
    made_by = {name: node for node in step.graph.node for name in node.output}
    readers = [node for node in step.graph.node if "state" in node.input]
    if len(readers) != 1 or readers[0].op_type != "Split":
        return whole
    split, lifted = readers[0], []
    name = "new_state"
    while (node := made_by[name]).op_type == "Identity":
        lifted.append(node)
        name = node.input[0]
    if node.op_type != "Concat" or len(node.input) != len(split.output):
        return whole
    sizes = _sizes(step, split)
    outside = {name for item in (node, *lifted) for name in item.output}
    kept = [item for item in step.graph.node if item is not node and item not in lifted]
    if not sizes or any(outside.intersection(item.input) for item in kept):  # the joined row is read in the step
        return whole
    shapes = onnx.shape_inference.infer_shapes(step).graph.value_info
    widths = {
        item.name: item.type.tensor_type.shape.dim[-1].dim_value for item in shapes if item.type.tensor_type.shape.dim
    }
    if any(widths.get(part) not in (None, 0, size) for part, size in zip(node.input, sizes, strict=True)):
        return whole
    if len(set(sizes)) > 1 and any(not widths.get(part) for part in node.input):
        return whole  # parts of several widths, in an order that is not known
    return State(list(split.output), list(node.input), sizes, [split, node, *lifted])


def _sizes(step: onnx.ModelProto, split: onnx.NodeProto) -> list[int]:
    """The widths of a Split's parts of the state row; empty where they are not constants."""
    if len(split.input) == 1:  # equal parts
        width, num_parts = width_of(step, "state"), len(split.output)
        return [] if width % num_parts else [width // num_parts] * num_parts
    for tensor in step.graph.initializer:
        if tensor.name == split.input[1]:
            sizes: list[int] = onnx.numpy_helper.to_array(tensor).tolist()
            return sizes
    return []


def renamed(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    """A copy with other names for some values, in its own bodies too."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    pending = [copy]
    while pending:
        item = pending.pop()
        item.input[:] = [names.get(name, name) for name in item.input]
        item.output[:] = [names.get(name, name) for name in item.output]
        for attribute in item.attribute:
            pending.extend(attribute.g.node)
            for value in attribute.g.output:
                value.name = names.get(value.name, value.name)
    return copy


def width_of(step: onnx.ModelProto, name: str) -> int:
    """The last dimension of an input or output.

    Raises:
        ExportError: it is not a number.
    """
    for item in (*step.graph.input, *step.graph.output):
        if item.name == name:
            width: int = item.type.tensor_type.shape.dim[-1].dim_value
            if width:
                return width
    raise ExportError(f"Graph step has no {name} whose last dimension is a number; decode cannot be made of it.")
