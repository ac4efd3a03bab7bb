"""Weights of recurrent nodes that a graph computes of its constants, computed once.

Gates are put in ONNX order, and a forward may make a weight of others, by operators that stand in the traced graph.
Other rewrites, and the runtime's kernels, want the numbers.
"""

from hashlib import sha256
from pathlib import Path

import onnx
from onnx import helper, numpy_helper

from export.onnx.rewrite.pruning import names_taken, prune
from models.errors import UnsupportedModelError
from runtime.onnxruntime.build import open_session

_RECURRENT = ("LSTM", "GRU", "RNN")
_WEIGHTS = slice(1, 4)  # of a node's inputs: W, R, B


def with_computed_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Make every W, R and B of the main graph's recurrent nodes a constant.

    Args:
        model: changed in place.

    Returns:
        The same model.

    Raises:
        UnsupportedModelError: a weight depends on an input.
    """
    graph = model.graph
    nodes = [node for node in graph.node if node.op_type in _RECURRENT]
    constants = {tensor.name for tensor in graph.initializer}
    wanted = list(dict.fromkeys(name for node in nodes for name in node.input[_WEIGHTS] if name not in constants))
    if not wanted:
        return model
    alone = onnx.ModelProto()
    alone.CopyFrom(model)
    del alone.graph.input[:], alone.graph.output[:]
    alone.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in wanted)
    prune(alone)
    given = {value.name for value in graph.input}
    if any(given & names_taken(node) for node in alone.graph.node) or given & set(wanted):
        raise UnsupportedModelError(
            "The forward computes weights of a recurrent layer from its inputs, and a graph's recurrent layers have "
            "one set of weights. Use cells (nn.LSTMCell, nn.GRUCell) with the computed weights, or keep them fixed."
        )
    session = open_session(Path("weights.onnx"), files={"weights.onnx": alone.SerializeToString()})
    own: dict[bytes, str] = {}
    renamed = {}
    for name, value in zip(wanted, session.run(wanted, {}), strict=True):
        tensor = numpy_helper.from_array(value, f"{name}_computed")
        key = f"{value.shape}".encode() + sha256(tensor.raw_data).digest()
        renamed[name] = own.setdefault(key, tensor.name)  # a layer that is called twice has its weights once
        if renamed[name] == tensor.name:
            graph.initializer.append(tensor)
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    return prune(model)
