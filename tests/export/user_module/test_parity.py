"""The comparison with PyTorch finds graphs that are wrong, names the output and the sizes, and nothing is written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from export.trace import recurrent
from export.user_module import export
from export.user_module.export import Exported, export_module
from export.user_module.inputs import input_spec_from_text
from export.user_module.packing import Packings
from export.user_module.trace import traced_module
from models.cells import cell_of
from models.errors import ParityError
from tests.export.user_module.command_line import MODULES, failure, run_module

X = ("x:float32[batch,time,8]",)
WITH_LENGTHS = (*X, "lengths:int64[batch]")


def swap_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrent, "cell_of", lambda kind: replace(cell_of(kind), onnx_gates="iocf"))


def ignore_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    padded = Packings.padded

    def full(self: Packings, *arguments: object) -> tuple[torch.Tensor, torch.Tensor]:
        values, lengths = padded(self, *arguments)  # type: ignore[arg-type]
        return values, torch.full_like(lengths, 1) * values.shape[0]

    monkeypatch.setattr(Packings, "padded", full)


@pytest.fixture(autouse=True)
def _in_the_modules_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MODULES)


@pytest.mark.parametrize("plant", [swap_gates, ignore_lengths])
def test_a_planted_fault_is_found_and_nothing_is_written(
    plant: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = (*WITH_LENGTHS, "h:float32[4,batch,6]", "c:float32[4,batch,6]")
    plant(monkeypatch)
    message = failure(run_module("pairs:GivenState", inputs, tmp_path / "my.onnx"))
    assert message.startswith("ParityError: Output outputs differs from PyTorch by ")
    assert "at batch=2, time=9" in message or "at batch=1, time=1" in message
    assert "allowed 1e-05" in message
    assert list(tmp_path.iterdir()) == []


def test_a_branch_on_a_size_is_found_at_that_size(tmp_path: Path) -> None:
    message = failure(run_module("refused:branches_on_size", WITH_LENGTHS, tmp_path / "my.onnx"))
    assert message.startswith("ParityError: Output output differs from PyTorch by ")
    assert "at batch=1, time=1 (shape [1, 1, 6])" in message
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_failure_is_a_parity_error_with_the_sizes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trace = traced_module

    def broken(*arguments: object) -> object:
        traced = trace(*arguments)  # type: ignore[arg-type]
        (lstm,) = (node for node in traced.model.graph.node if node.op_type == "LSTM")
        (hidden,) = (attribute for attribute in lstm.attribute if attribute.name == "hidden_size")
        hidden.i = 5
        return traced

    monkeypatch.setattr(export, "traced_module", broken)
    message = failure(run_module("stacks:NotANumber", X, tmp_path / "my.onnx"))
    assert message.startswith("ParityError: ONNX Runtime fails at batch=1, time=1, where PyTorch answers: ")
    assert "Actual:{1,24,8}" in message
    assert capfd.readouterr().err == ""


def exported(module: nn.Module, tolerance: float = 1e-5) -> Exported:
    return export_module(module, [input_spec_from_text("x:float32[batch,time,8]")], tolerance=tolerance)


class Banning(nn.Module):
    """A head whose scores are another above a size; one token is banned."""

    def __init__(self, ban: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru, self.head, self.ban = nn.GRU(8, 6, batch_first=True), nn.Linear(6, 5), ban

    def forward(self, x: Tensor) -> Tensor:
        scores = self.head(self.gru(x)[0])
        if x.size(1) > 30:
            scores = scores * 1.01
        banned: Tensor = scores.index_fill(2, torch.tensor([0]), self.ban)
        return banned


@pytest.mark.parametrize("ban", [-1e9, float("-inf")])
def test_a_banned_token_hides_no_difference_of_the_others(ban: float) -> None:
    with pytest.raises(ParityError, match=r"asks whether time <= 30 \(test_parity.py, line"):
        exported(Banning(ban))


def test_a_ban_that_is_added_is_measured_apart_from_the_scores() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            banned: Tensor = self.head(x) + torch.tensor([0.0, -1e9, 0.0, 0.0, 0.0])
            return banned

    assert exported(Masked()).parity.outputs[0].worst < 1e-6


class Steep(nn.Module):
    """Small differences of large sums: float32 itself is far from exact."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.sum(2, keepdim=True) * 300
        return torch.tanh(x + total - x.flip(2).sum(2, keepdim=True) * 300)


def test_what_pytorch_itself_cannot_compute_in_float32_is_allowed_and_reported() -> None:
    (output,) = exported(Steep()).parity.outputs
    assert output.worst <= output.allowed
    assert output.allowed > 2e-5


def test_a_tolerance_is_what_the_user_says(tmp_path: Path) -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (1.0 if x.size(1) < 30 else 1.0003)

    with pytest.raises(ParityError, match=r"differs from PyTorch by 0\.0003"):
        exported(Rounded())
    assert exported(Rounded(), tolerance=1e-3).report("rounded").is_passed
    message = failure(run_module("stacks:MixedKinds", X, tmp_path / "my.onnx", "--tolerance", "2"))
    assert "--tolerance 2 must be above 0 and below 1" in message


def test_small_outputs_are_not_measured_against_one() -> None:
    class Small(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * (1e-5 if x.size(1) < 30 else 1.3e-5)

    with pytest.raises(ParityError, match="asks whether time < 30"):
        exported(Small())
