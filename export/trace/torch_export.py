"""torch.onnx.export with the settings that every graph here is made with."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx
import torch
from torch import Tensor, nn

from export.onnx.graph import IR_VERSION, OPSET
from models.errors import ExportError

DynamicAxes = dict[int, str]


def traced(module: nn.Module, inputs: Mapping[str, tuple[Tensor, DynamicAxes]], outputs: list[str]) -> onnx.ModelProto:
    """Trace a module whose recurrent layers are already ONNX layers (export.trace.recurrent).

    Args:
        module: the module; its forward takes the inputs in order.
        inputs: name -> (example, axis -> name of the dynamic axis).
        outputs: names of the results in order.

    Returns:
        The model, opset 20, with every named axis symbolic.

    Raises:
        ExportError: PyTorch cannot trace it, or froze an axis that is to be dynamic.
    """
    examples = tuple(example for example, _ in inputs.values())
    with torch.no_grad(), quiet():
        try:
            program = torch.onnx.export(
                module.eval(),
                examples,
                dynamo=True,
                input_names=list(inputs),
                output_names=outputs,
                dynamic_shapes=tuple(axes for _, axes in inputs.values()),
                opset_version=OPSET,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error).strip().splitlines()[0]
            raise ExportError(f"PyTorch cannot trace {type(module).__name__}: {reason}") from error
    assert program is not None
    return finished(program.model_proto, inputs)


def finished(model: onnx.ModelProto, inputs: Mapping[str, tuple[Tensor, DynamicAxes]]) -> onnx.ModelProto:
    """What every traced model goes through: axes checked, the exporter's notes removed, shapes inferred.

    Args:
        model: as PyTorch made it; changed in place.
        inputs: name -> (example, axis -> name of the dynamic axis).

    Raises:
        ExportError: an axis that is to be dynamic was frozen.
    """
    model.ir_version = IR_VERSION
    _check_axes(model, inputs)
    _strip_provenance(model)
    del model.graph.value_info[:]
    model.graph.value_info.extend(onnx.shape_inference.infer_shapes(model).graph.value_info)
    return model


def _strip_provenance(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: stack traces with the paths of this machine, most of a small graph's bytes."""
    for item in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")


def _check_axes(model: onnx.ModelProto, inputs: Mapping[str, tuple[Tensor, DynamicAxes]]) -> None:
    for value in model.graph.input:
        axes = inputs[value.name][1]
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if axis in axes and not dimension.dim_param:
                raise ExportError(
                    f"Axis {axis} ({axes[axis]}) of input {value.name} was frozen to {dimension.dim_value}: the "
                    "model's code fixes its size. Write it for any size, or declare the axis as a number."
                )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's talk about itself (torchvision missing, its own deprecated calls) from the user."""
    loggers = [
        logging.getLogger(name) for name in ("torch.onnx", "torch.fx.experimental.symbolic_shapes", "onnxscript")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            # Several inputs share one batch axis, which is what is meant.
            warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
