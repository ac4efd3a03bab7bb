"""The documented functions, and what is written."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import nn

from export.user_module.export import Exported, export_module, write_graph
from export.user_module.inputs import input_spec_from_text, value_range_from_text
from export.user_module.source import load_module
from models.errors import ExportError
from runtime.onnxruntime.build import open_session
from tests.export.user_module.command_line import MODULES, run_module
from tests.export.user_module.modules.language import SequenceFirst
from tests.export.user_module.modules.refused import Around
from tests.export.user_module.modules.tagging import Tagger


@pytest.fixture(scope="module")
def exported() -> Exported:
    torch.manual_seed(0)
    return export_module(Around(nn.LSTM(8, 16, batch_first=True)), [input_spec_from_text("x:float32[batch,time,8]")])


def test_the_users_module_stays_as_it_is() -> None:
    module = Around(nn.GRU(8, 6, batch_first=True)).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    layer = module.encoder["layer"]
    attributes, kernels = set(vars(layer)), dict(vars(torch._VF))
    export_module(module, [input_spec_from_text("x:float32[batch,time,8]")])
    assert module.training
    assert module.encoder["layer"] is layer
    assert set(vars(layer)) == attributes
    assert dict(vars(torch._VF)) == kernels
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_torch_packs_as_before_after_a_trace_that_failed() -> None:
    kernels, pad_sequence = dict(vars(torch._VF)), torch._C._nn.pad_sequence
    module = load_module("tests.export.user_module.modules.refused:unpacks_rows", None)
    specs = [input_spec_from_text(text) for text in ("x:float32[batch,time,8]", "lengths:int64[batch]")]
    with pytest.raises(ExportError, match="was frozen"):
        export_module(module, specs)
    assert dict(vars(torch._VF)) == kernels
    assert torch._C._nn.pad_sequence is pad_sequence


def test_the_report_has_a_check_for_each_output(exported: Exported) -> None:
    report = exported.report("around")
    assert [check.name for check in report.checks] == ["worst_error of output"]
    assert report.is_passed
    assert report.facts["compared_batches"] == 8
    assert exported.operators["LSTM"] == 1


def test_a_large_graph_keeps_its_weights_in_a_file_beside_it(exported: Exported, tmp_path: Path) -> None:
    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    assert write_graph(exported.model, small) == [small]
    assert write_graph(exported.model, large, large=100) == [large, tmp_path / "large.onnx.data"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["large.onnx", "large.onnx.data", "small.onnx"]
    assert large.stat().st_size < small.stat().st_size
    x = np.ones((2, 3, 8), np.float32)
    first, second = (open_session(path).run(None, {"x": x})[0] for path in (small, large))
    assert np.array_equal(first, second)
    assert write_graph(exported.model, small) == [small]  # written a second time, the model still holds its weights


def test_sizes_that_pytorch_refuses_are_told_and_left_out() -> None:
    module = nn.Sequential(nn.Conv1d(8, 8, 9), nn.ReLU())
    found = export_module(module, [input_spec_from_text("x:float32[batch,8,time]")])
    assert any("PyTorch itself refuses batch=1, time=1 (RuntimeError" in note for note in found.notes)
    assert {sizes["time"] for sizes in found.parity.compared} == {9, 13, 40, 23}
    ranged = export_module(
        module, [input_spec_from_text("x:float32[batch,8,time]")], ranges=dict([value_range_from_text("time:9..50")])
    )
    assert ranged.notes == ()


def test_sorted_lengths_are_told() -> None:
    module = load_module("tests.export.user_module.modules.pairs:Siamese", None)
    specs = [input_spec_from_text(f"{name}:float32[batch,time,8]") for name in "ab"]
    found = export_module(module, [*specs, input_spec_from_text("lengths:int64[batch]")], outputs=["similarity"])
    assert "lengths must go from long to short" in found.notes[0]
    assert found.outputs == ("similarity",)


def test_tied_weights_are_loaded_from_one_of_their_names(tmp_path: Path) -> None:
    torch.manual_seed(5)
    module = SequenceFirst()
    save_model(module, str(tmp_path / "w.safetensors"))
    stored = load_file(tmp_path / "w.safetensors")
    assert ("encoder.weight" in stored) != ("decoder.weight" in stored)
    loaded = load_module("tests.export.user_module.modules.language:SequenceFirst", tmp_path / "w.safetensors")
    assert isinstance(loaded, SequenceFirst)
    assert loaded.decoder.weight is loaded.encoder.weight
    assert torch.equal(loaded.decoder.weight, module.decoder.weight)
    twice = {name: value.clone() for name, value in module.state_dict().items()}
    save_file(twice, tmp_path / "twice.safetensors")
    load_module("tests.export.user_module.modules.language:SequenceFirst", tmp_path / "twice.safetensors")


def test_weights_that_are_not_the_modules_are_refused_by_name(tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in Tagger().state_dict().items()}
    path = tmp_path / "w.safetensors"

    def message() -> str:
        with pytest.raises(ExportError) as caught:
            load_module("tests.export.user_module.modules.tagging:Tagger", path)
        return str(caught.value)

    assert "No weights at" in message()
    path.write_bytes(b"no weights at all")
    assert "is not a safetensors file" in message()
    save_file({**state, "head.weight": torch.zeros(7, 21)}, path)
    assert "head.weight is [7, 21] in the file, [7, 20] in the module" in message()
    missing = dict(state)
    del missing["head.bias"]
    save_file({**missing, "extra.scale": torch.zeros(2)}, path)
    assert "the file lacks head.bias; the module has no extra.scale" in message()


def test_weights_that_are_not_there_are_answered_with_how_to_write_them(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"Write them: safetensors.torch.save_model\(model, '.*lacking.safetensors'\)"
    ):
        load_module("tests.export.user_module.modules.tagging:Tagger", tmp_path / "lacking.pt")


def test_a_failure_leaves_an_older_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MODULES)
    (tmp_path / "my.onnx").write_bytes(b"older")
    inputs = ("x:float32[batch,time,8]", "lengths:int64[batch]")
    assert run_module("refused:branches_on_size", inputs, tmp_path / "my.onnx").exception is not None
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("my.onnx", b"older")]
