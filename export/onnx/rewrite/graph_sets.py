"""Which rewrites make which graph set of traced graphs, and what each set is for."""

from collections.abc import Callable

import onnx

from export.onnx.rewrite.half_products import half_products
from export.onnx.rewrite.recurrent_as_int8 import recurrent_as_int8
from export.onnx.rewrite.rnn_as_scan import rnn_as_scan
from export.onnx.rewrite.step_as_products import step_as_products

_Rewrite = Callable[[onnx.ModelProto], onnx.ModelProto]

# fp32: for a CPU, where a row's bits must not depend on the rest of the batch. gpu-: steps without loops, sequences
# with the recurrent operators, for CUDA and TensorRT. int8: of a user's own models of frames; networks of rnnserve's
# own have theirs written from the weights (export.onnx.int8).
REWRITES: dict[str, tuple[_Rewrite, ...]] = {
    "fp32": (rnn_as_scan,),
    "int8": (recurrent_as_int8,),
    "gpu-fp32": (step_as_products,),
    "gpu-fp16": (step_as_products, half_products),
}


def graph_set_from_traced(set_name: str, traced: dict[str, onnx.ModelProto]) -> dict[str, onnx.ModelProto]:
    """The graphs of a set.

    Args:
        set_name: one of REWRITES.
        traced: graphs by name, as export.trace made them; left as they are.

    Raises:
        ExportError: a weight does not fit the set's precision.
    """
    graphs: dict[str, onnx.ModelProto] = {}
    for name, model in traced.items():
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        for rewrite in REWRITES[set_name]:
            copy = rewrite(copy)
        graphs[name] = copy
    return graphs
