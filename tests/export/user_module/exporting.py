"""Exporting small modules of tests in this process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.user_module.export import Exported, export_module
from export.user_module.inputs import argument_from_text, value_range_from_text
from export.user_module.outputs import named_tensors
from runtime.onnxruntime.build import open_session

X = ("x:float32[batch,time,8]",)
WITH_LENGTHS = (*X, "lengths:int64[batch]")


class Doing(nn.Module):
    """Layers and what a forward does with them and its inputs."""

    def __init__(self, forward: Callable[..., object], **parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleDict(parts)
        self._does = forward

    def forward(self, x: Tensor, *rest: Tensor) -> object:
        return self._does(self.parts, x, *rest)


def exported(module: nn.Module, inputs: Sequence[str] = X, ranges: Sequence[str] = ()) -> Exported:
    specs = [argument_from_text(text) for text in inputs]
    return export_module(module, specs, ranges=dict(value_range_from_text(text) for text in ranges))


def answers(found: Exported, tmp_path: Path, **inputs: Tensor) -> list[NDArray[Any]]:
    """What the graph gives, in this process: only for graphs that a child process has survived."""

    path = tmp_path / "graph.onnx"
    path.write_bytes(found.model.SerializeToString())
    result: list[NDArray[Any]] = open_session(path).run(None, {name: value.numpy() for name, value in inputs.items()})
    return result


def eager(module: nn.Module, *inputs: Any) -> list[NDArray[Any]]:
    with torch.no_grad():
        return [value.numpy() for _, value in named_tensors(module.eval()(*inputs))]
