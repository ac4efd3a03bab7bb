"""The comparison with PyTorch finds graphs that are wrong, names the output and the sizes, and nothing is written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.trace import recurrent
from export.user_module import export
from export.user_module.packing import Packings
from export.user_module.parity import difference
from export.user_module.trace import traced_module
from models.cells import cell_of
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


def test_nan_where_pytorch_gives_nan_is_equal_and_nowhere_else() -> None:
    nan, inf = np.nan, np.inf
    expected = np.array([nan, inf, -inf, 1.0, 4.0, nan, inf], np.float32)
    found = np.array([nan, inf, inf, nan, 4.0, 0.0, 3.0], np.float32)
    assert difference(found, expected).tolist() == [0, 0, inf, inf, 0, inf, inf]


def test_differences_are_relative_to_the_largest_magnitude_or_one() -> None:
    assert difference(np.array([1.0, 102.0]), np.array([2.0, 100.0])).tolist() == [0.01, 0.02]
    assert difference(np.array([0.5]), np.array([0.25])).tolist() == [0.25]
    assert difference(np.array([3, 7]), np.array([3, 6])).max() > 0.1
    assert difference(np.zeros((0, 3)), np.zeros((0, 3))).size == 0
