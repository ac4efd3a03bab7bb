"""A user's module, made exportable, as an ONNX model.

Traced by torch.export without its compiler (strict=False), so the forward runs as plain Python, once, on tensors
without values; then translated. What Python decides while it runs is decided for ever: a branch on a tensor's value
fails, a loop over a dynamic axis would freeze it and is refused.
"""

from collections.abc import Mapping, Sequence

import onnx
import torch
from torch import Tensor, nn

from export.onnx_graph import OPSET
from export.rewrite.rnn_as_scan import rnn_as_scan
from export.trace.module.exportable import exportable
from export.trace.module.outputs import FlatOutputs
from export.trace.module.packing import Packings
from export.trace.module.source import described
from export.trace.torch_export import DynamicAxes, finished, quiet
from models.errors import ExportError

# Part of PyTorch's message -> what it means for the user, and the way round.
_EXPLANATIONS = (
    (
        ("data-dependent", "Could not guard", "unbacked"),
        "the forward makes a Python number of a tensor's values (int(), .item(), .tolist(), max() of lengths, or an "
        "if), which a graph cannot. Take sizes from shapes (x.size(1) for lengths.max()) and choose with torch.where.",
    ),
    (
        ("was assigned during export", "attributes", "mutat"),
        "the forward keeps something on the module between calls, which a graph cannot. Take it as an argument and "
        "return it.",
    ),
)


def trace_module(
    module: nn.Module, examples: Mapping[str, tuple[Tensor, DynamicAxes]], outputs: Sequence[str]
) -> onnx.ModelProto:
    """Trace a user's module; it stays as it is.

    Args:
        module: any module; its forward takes the inputs in order.
        examples: name -> (example, axis -> name of the dynamic axis). Sizes of different axes should differ, and
            be above 1.
        outputs: names for the flattened return value, in order.

    Returns:
        The model, opset 20, every named axis symbolic, weights inside.

    Raises:
        UnsupportedModelError: the module holds a part that cannot be exported.
        ExportError: PyTorch cannot trace it, or its code freezes an axis.
    """
    packings = Packings()
    flat = FlatOutputs(exportable(module, packings)).eval()
    dynamic = tuple(dict.fromkeys(axes, torch.export.Dim.AUTO) for _, axes in examples.values())
    values = tuple(value for value, _ in examples.values())
    with torch.no_grad(), quiet():
        try:
            with packings.in_place_of_kernels():
                program = torch.export.export(flat, values, dynamic_shapes=(dynamic,), strict=False)
        except ExportError:
            raise
        except Exception as error:
            raise ExportError(_explained(module, error)) from error
        try:
            translated = torch.onnx.export(
                program,
                dynamo=True,
                input_names=list(examples),
                output_names=list(outputs),
                dynamic_shapes=(tuple(axes for _, axes in examples.values()),),
                opset_version=OPSET,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            cause = error.__cause__ or error
            raise ExportError(
                f"PyTorch cannot translate {type(module).__name__} to ONNX: {described(cause)}. An operator without an "
                "ONNX counterpart is named there; write it with others."
            ) from error
    assert translated is not None
    return rnn_as_scan(finished(translated.model_proto, examples))


def _explained(module: nn.Module, error: Exception) -> str:
    message = f"PyTorch cannot trace {type(module).__name__}: {described(error)}"
    for signs, explanation in _EXPLANATIONS:
        if any(sign in str(error) for sign in signs):
            return f"{message}. That is: {explanation}"
    return f"{message}. Change that line, or give the axis it needs fixed as a number."
