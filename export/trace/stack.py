"""A bare recurrent stack as one graph: what every other graph is made of, on its own."""

import onnx
import torch

from export.onnx.rewrite.rnn_as_scan import rnn_as_scan
from export.trace.recurrent import OnnxRecurrentStack
from export.trace.torch_export import traced
from models.network.recurrent import RecurrentStack


def stack_graph(stack: RecurrentStack) -> onnx.ModelProto:
    """Trace a stack of any kind, depth and direction.

    Args:
        stack: the stack.

    Returns:
        inputs float32 [batch, time, input_size], state float32 [batch, D], lengths int32 [batch] ->
        outputs float32 [batch, time, output_size], new_state float32 [batch, D].
    """
    batch, time = 2, 3  # an example; both axes stay symbolic
    inputs = {
        "inputs": (torch.zeros(batch, time, stack.config.input_size), {0: "batch", 1: "time"}),
        "state": (stack.zero_state(batch), {0: "batch"}),
        "lengths": (torch.tensor([time, 1], dtype=torch.int32), {0: "batch"}),
    }
    return rnn_as_scan(traced(OnnxRecurrentStack(stack), inputs, ["outputs", "new_state"]))
