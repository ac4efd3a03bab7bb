"""Forwards that take and give tuples of tensors, through the command: (h, c), hidden=None, a state for each layer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_model
from torch.utils._pytree import tree_leaves

from runtime.onnxruntime.build import open_session
from tests.export.user_module.command_line import MODULES, failure, run_module
from tests.export.user_module.exporting import eager
from tests.export.user_module.modules import tuples

X = "x:float32[batch,time,8]"
X_OF_A_STEP = "x:float32[batch,8]"


@pytest.fixture(autouse=True)
def _in_the_modules_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MODULES)


def drawn(batch: int, *widths: int, layers: int = 0) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(*([layers] if layers else []), batch, width) for width in widths)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("HiddenLstm", (X,), ["output_0", "output_1_0", "output_1_1"]),
        ("HiddenLstm", (X, "(h:float32[2,batch,6],c:float32[2,batch,6])"), ["output_0", "output_1_0", "output_1_1"]),
        ("ZoneoutCell", (X_OF_A_STEP, "(h:float32[batch,6], c:float32[batch,6])"), ["output_0", "output_1"]),
        (
            "StatesOfLayers",
            (
                X,
                f"(({','.join(f'{each}:float32[1,batch,8]' for each in ('h0', 'c0'))}),"
                f"({','.join(f'{each}:float32[1,batch,8]' for each in ('h1', 'c1'))}))",
            ),
            ["output_0", "output_1_0_0", "output_1_0_1", "output_1_1_0", "output_1_1_1"],
        ),
    ],
    ids=["left_out", "h_and_c", "zoneout", "layers"],
)
def test_states_in_tuples_are_taken_and_given(
    name: str, inputs: tuple[str, ...], outputs: list[str], tmp_path: Path
) -> None:
    module = getattr(tuples, name)()
    save_model(module, str(tmp_path / "w.safetensors"))
    path = tmp_path / "my.onnx"
    result = run_module(f"tuples:{name}", inputs, path, "--weights", str(tmp_path / "w.safetensors"))
    assert result.exit_code == 0, result.exception
    session = open_session(path)
    assert [value.name for value in session.get_outputs()] == outputs
    for batch, time in ((1, 1), (4, 41)):
        states = {"HiddenLstm": drawn(batch, 6, 6, layers=2), "ZoneoutCell": drawn(batch, 6, 6)}.get(
            name, (drawn(batch, 8, 8, layers=1), drawn(batch, 8, 8, layers=1))
        )
        arguments = [drawn(batch, 8)[0] if name == "ZoneoutCell" else torch.randn(batch, time, 8), states]
        arguments = arguments[: len(inputs)]
        names = [value.name for value in session.get_inputs()]
        values = {each: value.numpy() for each, value in zip(names, tree_leaves(arguments), strict=True)}
        for ours, theirs in zip(session.run(None, values), eager(module, *arguments), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_states_that_are_given_one_by_one_are_told_how_to_be_a_tuple(tmp_path: Path) -> None:
    inputs = (X_OF_A_STEP, "h:float32[batch,6]", "c:float32[batch,6]")
    message = failure(run_module("tuples:ZoneoutCell", inputs, tmp_path / "my.onnx"))
    assert "does not take the 3 inputs x, h, c" in message
    assert "several in parentheses are one argument, a tuple: --input '(h:float32[1,batch,6]" in message
