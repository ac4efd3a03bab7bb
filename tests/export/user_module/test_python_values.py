"""What Python reads of a tensor while a forward is traced is followed, or refused with its line and the way round."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.errors import ExportError, UnsupportedModelError
from tests.export.user_module.exporting import WITH_LENGTHS, Doing, X, answers, eager, exported

READS: dict[str, Callable[[Tensor], Any]] = {
    "numpy_max": lambda lengths: lengths.cpu().numpy().max(),
    "function_of_numpy": lambda lengths: np.max(lengths.numpy()),
    "array": lambda lengths: float(np.array(lengths.tolist()).sum()),
    "argsort": lambda lengths: np.argsort(-lengths.numpy()),
    "longer": lambda lengths: len([*lengths.tolist(), 1]),
    "added": lambda lengths: len(lengths.tolist() + [1]),  # noqa: RUF005
    "added_in_front": lambda lengths: sum([1] + lengths.tolist()),  # noqa: RUF005
    "appended": lambda lengths: lengths.tolist().append(3),
    "sorted": lambda lengths: sorted(lengths.tolist())[0],
    "compared": lambda lengths: lengths.tolist() == [3],
    "as_text": lambda lengths: str(lengths.tolist()),
    "mask": lambda lengths: lengths.numpy() > 3,
}


@pytest.mark.parametrize("name", READS)
def test_lengths_that_are_read_as_numbers_are_refused_with_the_line(name: str) -> None:
    def forward(_: nn.ModuleDict, x: Tensor, lengths: Tensor) -> Tensor:
        READS[name](lengths)
        return x * 2

    with pytest.raises(UnsupportedModelError) as refused:
        exported(Doing(forward), WITH_LENGTHS)
    message = str(refused.value)
    assert "numbers out of tensor.tolist() or .numpy() (test_python_values.py, line" in message
    assert "x.size(1) for max(lengths)" in message


def test_stable_sorts_are_followed(tmp_path: Path) -> None:
    def forward(_: nn.ModuleDict, x: Tensor) -> list[Tensor]:
        rounded = x.round()  # with equal numbers
        return [
            *torch.sort(rounded, dim=1, descending=True, stable=True),
            *rounded.sort(dim=1, stable=True),
            torch.argsort(rounded, dim=1, stable=True),
        ]

    module = Doing(forward)
    x = torch.randn(2, 50, 8)
    for ours, theirs in zip(answers(exported(module), tmp_path, x=x), eager(module, x), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_old_weight_norm_on_a_convolution_is_a_plain_weight_in_the_graph(tmp_path: Path) -> None:
    convolution = torch.nn.utils.weight_norm(nn.Conv1d(8, 6, 3, padding=1))
    linear = torch.nn.utils.spectral_norm(nn.Linear(6, 5))
    module = Doing(
        lambda parts, x: parts["gru"](parts["linear"](parts["convolution"](x.transpose(1, 2)).transpose(1, 2)))[0],
        convolution=convolution,
        linear=linear,
        gru=nn.GRU(5, 4, batch_first=True),
    )
    module(torch.randn(1, 4, 8))  # trained: the weight is a computed tensor
    found = exported(module)
    x = torch.randn(2, 5, 8)
    np.testing.assert_allclose(answers(found, tmp_path, x=x)[0], eager(module, x)[0], atol=1e-6)
    assert len(convolution._forward_pre_hooks) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_helper_on_the_module_is_followed() -> None:
    module = Doing(lambda parts, x: parts["inner"].half(x), inner=nn.Identity())
    module.parts["inner"].half = torch.jit.script(_half)  # type: ignore[method-assign]
    assert exported(module).parity.outputs[0].worst == 0


def _half(x: Tensor) -> Tensor:
    return x[:, : x.shape[1] // 2 + 1]


def test_what_cannot_be_copied_is_named(tmp_path: Path) -> None:
    module = Doing(lambda _, x: x, inner=nn.Identity())
    with (tmp_path / "log").open("w") as file:
        module.parts["inner"].log = file  # type: ignore[assignment]
        with pytest.raises(ExportError, match=r"It is parts\.inner\.log, which is TextIOWrapper"):
            exported(module)


def test_adaptive_pooling_over_a_free_axis_is_named_with_its_line() -> None:
    def forward(parts: nn.ModuleDict, x: Tensor) -> Any:
        return parts["pool"](x)

    with pytest.raises(ExportError) as refused:
        exported(Doing(forward, pool=nn.AdaptiveAvgPool2d((4, 1))), ["x:float32[batch,2,height,width]"])
    message = str(refused.value)
    assert "adaptive_avg_pool2d.default (test_python_values.py, line" in message
    assert "adaptive pooling over an axis of free size" in message
    assert "F.avg_pool2d" in message


def test_an_operator_without_a_counterpart_is_named_with_its_line() -> None:
    class Decomposing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first: Tensor = torch.linalg.qr(x)[0]
            return first

    with pytest.raises(ExportError) as refused:
        exported(Decomposing(), X)
    assert "linalg_qr.default (test_python_values.py, line" in str(refused.value)
    assert "has no ONNX counterpart" in str(refused.value)
