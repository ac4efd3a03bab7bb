"""Modules as users write them, through the command, answer as PyTorch does at sizes that the export never saw."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_model
from torch import Tensor, nn

from export.user_module.outputs import named_tensors
from runtime.onnxruntime.build import open_session
from tests.export.user_module.command_line import MODULES, run_module
from tests.export.user_module.modules import attending, language, pairs, speech, stacks, stepping, tagging

SIZES = ((1, 1), (1, 12), (6, 11), (2, 31), (19, 4))  # batch, time; none is drawn by the command
TOLERANCE = 1e-5
IDS = ("ids:int64[batch,time]",)
IDS_AND_LENGTHS = (*IDS, "lengths:int64[batch]")
ROWS = ("x:float32[batch,time,8]",)
STEPS = ("x:float32[time,batch,8]",)
STATES = ("h:float32[4,batch,6]", "c:float32[4,batch,6]")


@dataclass(frozen=True)
class Case:
    make: type[nn.Module]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[str, ...]  # that carry the recurrence
    is_sorted: bool = False


CASES = (
    Case(tagging.Tagger, IDS_AND_LENGTHS, ("output",), ("LSTM", "LSTM")),
    Case(tagging.PackedTagger, IDS_AND_LENGTHS, ("output_0", "output_1", "output_2"), ("GRU", "LSTM")),
    Case(tagging.LastState, IDS_AND_LENGTHS, ("output",), ("Scan", "Scan")),
    Case(
        language.SequenceFirst,
        ("ids:int64[time,batch]", "state:float32[2,batch,12]"),
        ("logits", "new_state"),
        ("GRU", "GRU"),
    ),
    Case(language.OwnHidden, IDS, ("outputs", "state_0", "state_1"), ("LSTM", "LSTM")),
    Case(attending.AttentionPool, IDS_AND_LENGTHS, ("logits", "best", "weights"), ("GRU",)),
    Case(attending.GreedyDecoder, IDS_AND_LENGTHS, ("output_0", "output_1"), ("GRU",)),
    Case(attending.SelfAttention, (*ROWS, "lengths:int32[batch]"), ("output",), ("LSTM",)),
    Case(
        speech.Recognizer,
        ("mel:float32[batch,20,time]", "lengths:int64[batch]"),
        ("output_0", "output_1"),
        ("LSTM",),
    ),
    Case(stacks.MixedKinds, ROWS, ("output",), ("GRU", "LSTM", "Scan", "Scan", "Scan", "Scan", "Scan")),
    Case(stacks.GruOverLstm, STEPS, ("output_0", "output_1_0", "output_1_1"), ("GRU", "GRU", "LSTM", "LSTM")),
    Case(stacks.NotANumber, ROWS, ("output_0", "output_1"), ("LSTM",)),
    Case(stepping.FiveSteps, ("x:float32[batch,8]",), ("output",), ()),
    Case(stepping.Window, ("x:float32[batch,6,8]",), ("output",), ()),
    Case(
        pairs.Siamese,
        ("a:float32[batch,time,8]", "b:float32[batch,time,8]", "lengths:int64[batch]"),
        ("output",),
        ("GRU", "LSTM"),
        is_sorted=True,
    ),
    Case(pairs.GivenState, (*ROWS, "lengths:int64[batch]", *STATES), ("outputs", "new_h", "new_c"), ("LSTM", "LSTM")),
    Case(pairs.OtherPadding, (*STEPS, "lengths:int64[batch]"), ("output_0", "output_1"), ("Scan", "Scan")),
    Case(pairs.Two, ("first:float32[batch,8]", "second:float32[time,8]"), ("output",), ("LSTM",)),
)


def drawn(inputs: tuple[str, ...], batch: int, time: int, *, is_sorted: bool) -> dict[str, Tensor]:
    """Random inputs; written apart from the command's own."""
    generator = np.random.default_rng(batch * 100 + time)
    values: dict[str, Tensor] = {}
    for text in inputs:
        name, _, kind = text.partition(":")
        dtype, axes = kind.rstrip("]").split("[")
        shape = [{"batch": batch, "time": time}.get(axis) or int(axis) for axis in axes.split(",")]
        if name == "lengths":
            lengths = generator.integers(1, time + 1, size=shape)
            lengths[generator.integers(batch)] = time
            values[name] = torch.from_numpy((np.sort(lengths)[::-1] if is_sorted else lengths).astype(dtype))
        elif name == "ids":
            values[name] = torch.from_numpy(generator.integers(30, size=shape))
        else:
            values[name] = torch.from_numpy(generator.standard_normal(shape).astype(dtype))
    return values


LONG = (
    attending.SelfAttention,
    stepping.Window,
    pairs.OtherPadding,
    pairs.Two,
    pairs.Siamese,
)  # like others, so left to the long run


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.make.__name__, marks=[pytest.mark.slow] if case.make in LONG else [])
        for case in CASES
    ],
)
def test_the_command_exports_it_and_it_answers_as_pytorch_does(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    module = case.make().eval()
    save_model(module, str(tmp_path / "w.safetensors"))
    monkeypatch.chdir(MODULES)
    reference = f"{case.make.__module__.rpartition('.')[2]}:{case.make.__name__}"
    path = tmp_path / "my.onnx"
    result = run_module(reference, case.inputs, path, "--weights", str(tmp_path / "w.safetensors"))
    assert result.exception is None, result.exception
    assert [file.name for file in tmp_path.iterdir() if file.suffix == ".onnx"] == ["my.onnx"]
    check_graph(path, case)
    session = open_session(path)
    for batch, time in SIZES:
        inputs = drawn(case.inputs, batch, time, is_sorted=case.is_sorted)
        with torch.no_grad():
            expected = [tensor.numpy() for _, tensor in named_tensors(module(*inputs.values()))]
        found = session.run(list(case.outputs), {name: value.numpy() for name, value in inputs.items()})
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE, equal_nan=True)


def check_graph(path: Path, case: Case) -> None:
    """Names, axes, versions and how the recurrence is carried."""
    model = onnx.load(path)
    assert (model.ir_version, [(opset.domain, opset.version) for opset in model.opset_import]) == (10, [("", 20)])
    shapes = [
        f"{value.name}[{','.join(axis.dim_param or str(axis.dim_value) for axis in value.type.tensor_type.shape.dim)}]"
        for value in model.graph.input
    ]
    assert shapes == [text.partition(":")[0] + text[text.index("[") :] for text in case.inputs]
    assert tuple(value.name for value in model.graph.output) == case.outputs
    carried = tuple(sorted(node.op_type for node in model.graph.node if node.op_type in {"LSTM", "GRU", "RNN", "Scan"}))
    assert carried == case.operators
