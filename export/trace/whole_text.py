"""Graphs in float32 of models that read a whole text in one call, traced from torch. In every set they take and give
the same:

classify  ids int64 [batch, time], lengths int32 [batch] (each 1..time) -> logits float32 [batch, C]
tag       the same                                                     -> logits float32 [batch, time, C]

The time axis is a multiple of 16 (runtime.padding), or a row's last bits may change with it.
"""

import copy

import onnx
import torch

from export.trace.recurrent import OnnxRecurrentStack
from export.trace.torch_export import traced
from models.network.classifier import Classifier
from models.network.tagger import Tagger


def whole_text_graphs(model: Classifier | Tagger, name: str) -> dict[str, onnx.ModelProto]:
    """Trace the graph with the recurrent operators in it; export.onnx.rewrite makes graph sets of it.

    Args:
        model: the trained model; it is copied and left as it is.
        name: of the graph.

    Returns:
        The graph by its name.
    """
    model = copy.deepcopy(model).eval()
    batch, time = 2, 16  # an example; both axes stay symbolic
    model.recurrent = OnnxRecurrentStack(model.recurrent)  # type: ignore[assignment]
    ids = torch.zeros(batch, time, dtype=torch.int64)
    lengths = torch.tensor([time, 1], dtype=torch.int32)
    inputs = {"ids": (ids, {0: "batch", 1: "time"}), "lengths": (lengths, {0: "batch"})}
    return {name: traced(model, inputs, ["logits"])}
