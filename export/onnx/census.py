"""The op census: which operators a set's graphs may hold, and which would break a promise.

Sums over batch or time, random numbers, float RNN nodes and per-batch quantisation change a row's answer with its
batch; a frozen or unrolled layer shows as hundreds of nodes. On a GPU a Scan cannot have a dynamic length
(TensorRT) and a step must be free of loops (a CUDA graph). Found in any graph or body, the set is refused.
"""

from collections import Counter

import onnx
from onnx import TensorProto

from models.errors import ParityError

FORBIDDEN = {
    "ReduceSum": "sums over padding change with the batch's padded size",
    "ReduceMean": "means over padding change with the batch's padded size",
    "DynamicQuantizeLinear": "its scale comes from the whole batch",
    "DynamicQuantizeLSTM": "its scale comes from the whole batch",
    "RandomUniform": "sampling belongs to the server",
    "RandomNormal": "sampling belongs to the server",
    "Multinomial": "sampling belongs to the server",
    "Dropout": "the model was exported in training mode",
}
FORBIDDEN_ON_CPU = {"RNN": "its kernel gives a row other bits in another batch"}
FORBIDDEN_ON_GPU = {
    "Scan": "TensorRT takes none of dynamic length",
    "Loop": "TensorRT takes none of dynamic length",
    "If": "a CUDA graph holds no branches",
    "MatMulInteger": "neither TensorRT nor CUDA multiplies 8-bit integers this way",
    "QuantizeLinear": "int8 is for the CPU",
}
FORBIDDEN_IN_GPU_STEP = dict.fromkeys(
    ("LSTM", "GRU", "RNN"), "TensorRT makes a loop of it, and a CUDA graph holds none"
)
STEP = "step"
# Graphs that choose tokens: they sum the weights of one row's vocabulary. What the step inside may hold was counted in
# the step itself.
CHOOSING = ("decode", "decode_filtered", "choose")
SMALLEST_HALF = 2  # rows and columns of a matrix that gpu-fp16 stores in float16


def census(model: onnx.ModelProto) -> Counter[str]:
    """How often each operator occurs, bodies of Scan, Loop and If included."""
    counts: Counter[str] = Counter()
    pending = [model.graph]
    while pending:
        for node in pending.pop().node:
            counts[node.op_type] += 1
            pending.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))
    return counts


def forbidden_operators(set_name: str, graph: str) -> dict[str, str]:
    """Which operators a graph of a set may not hold, each with the reason."""
    if not set_name.startswith("gpu-"):
        forbidden = FORBIDDEN | FORBIDDEN_ON_CPU
        if graph in CHOOSING:
            del forbidden["ReduceSum"]
        return forbidden
    return FORBIDDEN | gpu_restrictions(graph)


def gpu_restrictions(graph: str) -> dict[str, str]:
    """Which operators no GPU backend runs in a graph, each with the reason."""
    return FORBIDDEN_ON_GPU | (FORBIDDEN_IN_GPU_STEP if graph == STEP else {})


def check_census(name: str, model: onnx.ModelProto, set_name: str = "fp32") -> Counter[str]:
    """Count a graph's operators and refuse what breaks a promise.

    Args:
        name: the graph's.
        model: the graph.
        set_name: the set that it is for.

    Raises:
        ParityError: naming the operator, or the weight or boundary of a wrong type, and why it may not be there.
    """
    counts = census(model)
    for operator, reason in forbidden_operators(set_name, name).items():
        if counts[operator]:
            raise ParityError(f"Graph {name} holds {counts[operator]} {operator}: {reason}.")
    if set_name == "gpu-fp16":
        _check_types(name, model)
    return counts


def _check_types(name: str, model: onnx.ModelProto) -> None:
    for tensor in model.graph.initializer:
        is_matrix = len(tensor.dims) > 1 and min(tensor.dims[-2:]) >= SMALLEST_HALF
        if is_matrix and tensor.data_type == TensorProto.FLOAT and tensor.name not in _biases(model):
            raise ParityError(
                f"Graph {name} holds weight {tensor.name} in float32: gpu-fp16 stores weights as float16."
            )
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            raise ParityError(f"Graph {name} has {value.name} in float16: boundaries are float32 in every set.")


def _biases(model: onnx.ModelProto) -> set[str]:
    """The biases of recurrent nodes, [directions, ...], which stay in float32."""
    return {node.input[3] for node in model.graph.node if node.op_type in FORBIDDEN_IN_GPU_STEP}
