"""The op census: which operators a set's graphs may hold, and which would break a promise.

Sums over batch or time, random numbers, float RNN nodes and per-batch quantisation change a row's answer with its
neighbours; a frozen or unrolled layer shows as hundreds of nodes. Found in any graph or body, the set is refused.
"""

from collections import Counter

import onnx

from models.errors import ParityError

FORBIDDEN = {
    "RNN": "its kernel gives a row other bits in another batch",
    "ReduceSum": "sums over padding change with the batch's padded size",
    "ReduceMean": "means over padding change with the batch's padded size",
    "DynamicQuantizeLinear": "its scale comes from the whole batch",
    "DynamicQuantizeLSTM": "its scale comes from the whole batch",
    "RandomUniform": "sampling belongs to the server",
    "RandomNormal": "sampling belongs to the server",
    "Multinomial": "sampling belongs to the server",
    "Dropout": "the model was exported in training mode",
}


def census(model: onnx.ModelProto) -> Counter[str]:
    """How often each operator occurs, bodies of Scan, Loop and If included."""
    counts: Counter[str] = Counter()
    pending = [model.graph]
    while pending:
        for node in pending.pop().node:
            counts[node.op_type] += 1
            pending.extend(attribute.g for attribute in node.attribute if attribute.HasField("g"))
    return counts


def check_census(name: str, model: onnx.ModelProto) -> Counter[str]:
    """Count a graph's operators and refuse what breaks a promise.

    Raises:
        ParityError: naming the operator and why it may not be there.
    """
    counts = census(model)
    for operator, reason in FORBIDDEN.items():
        if counts[operator]:
            raise ParityError(f"Graph {name} holds {counts[operator]} {operator}: {reason}.")
    return counts
