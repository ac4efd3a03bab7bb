"""A published graph set with a fault planted in one graph, its manifest written anew so that only `verify` notices."""

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from export.onnx.weights import save_graphs
from models.bundle import Bundle
from models.graph_set import new_graph_set

Floats = NDArray[np.float32]


def damage(bundle: Bundle, set_name: str, graph: str, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change one graph of a set and publish the set again."""
    old = bundle.graph_set(set_name)
    models = {name: onnx.load(str(old.graph(name))) for name in old.manifest.graphs}
    change(models[graph])
    with new_graph_set(old.path) as (folder, seal):
        save_graphs(folder, models)
        kept = ("bundle_sha256", "graphs", "versions", "golden", "parity", "notes")
        seal(**{field: value for field, value in old.manifest.model_dump().items() if field in kept})


def node_of(model: onnx.ModelProto, operator: str) -> onnx.NodeProto:
    """The first node of a kind in the main graph."""
    found: onnx.NodeProto = next(node for node in model.graph.node if node.op_type == operator)
    return found


def replace(model: onnx.ModelProto, name: str, change: Callable[[Floats], Floats]) -> None:
    """Change a constant."""
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    array = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.array(change(array), array.dtype, order="C"), name))


def swapped(order: list[int], axis: int = -2) -> Callable[[Floats], Floats]:
    """Blocks of gates along an axis in another order."""

    def change(array: Floats) -> Floats:
        blocks = np.split(array, len(order), axis=axis)
        return np.concatenate([blocks[index] for index in order], axis=axis)

    return change


def square_blocks_turned(array: Floats) -> Floats:
    """Each gate's square block of [directions, gates * hidden, hidden] transposed."""
    hidden = array.shape[-1]
    blocks = np.split(array, array.shape[-2] // hidden, axis=-2)
    return np.concatenate([block.swapaxes(-1, -2) for block in blocks], axis=-2)
