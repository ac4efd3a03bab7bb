"""Inputs that nobody draws by chance: NaN, infinity, denormal numbers, no rows; and graphs that end their process."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from export.user_module import unusual
from export.user_module.declared import correct_shapes
from export.user_module.export import export_module
from export.user_module.inputs import input_spec_from_text
from export.user_module.parity import GraphEndsProcessError
from models.errors import ParityError, RunnerError
from runtime.onnxruntime.child import ChildSession, ProcessEndedError
from tests.export.user_module.exporting import WITH_LENGTHS, Doing, X, answers, eager, exported

NAN, INF = float("nan"), float("inf")


class Reader(nn.Module):
    """Packed and plain, both directions, with what is often made of the outputs."""

    def __init__(self, kind: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = kind(8, 3, batch_first=True, bidirectional=True, num_layers=2)

    def forward(self, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, states = self.layer(packed)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.size(1))
        plain, _ = self.layer(x)
        last = states[1] if isinstance(states, tuple) else states
        best, order = plain.sort(dim=1, descending=True, stable=True)
        return {
            "outputs": outputs,
            "last": last,
            "largest": outputs.amax(1),
            "least": plain.amin(1),
            "best": best[:, :1],
            "order": order[:, :1],
            "place": plain.argmax(1),
        }


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_what_is_not_finite_comes_out_as_in_pytorch(kind: Any, tmp_path: Path) -> None:
    module = Reader(kind)
    found = exported(module, WITH_LENGTHS)
    assert found.notes == ()
    lengths = torch.tensor([9, 6, 3, 5])
    for number in (NAN, INF, -INF, 1e-42):
        x = torch.randn(4, 9, 8)
        x[1, 4, 2] = x[2, 8, 1] = number  # the second is padding of its row
        x[3, 0], x[3, 2, 0] = number, -number
        expected = eager(module, x, lengths)
        for ours, theirs in zip(answers(found, tmp_path, x=x, lengths=lengths), expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("largest", [True, False])
def test_of_sorted_numbers_a_nan_comes_before_infinity_and_that_before_all_others(
    largest: bool, tmp_path: Path
) -> None:
    def best(_: nn.ModuleDict, x: Tensor) -> Tensor:
        return torch.cat([x.topk(2, dim=1, largest=largest)[0], x.sort(dim=1, descending=largest)[0]], 1)

    found = exported(Doing(best))
    assert not any("does not answer" in note for note in found.notes)
    most = torch.finfo(torch.float32).max
    numbers = torch.tensor([1.0, INF, -INF, NAN, most, -most])
    rows = torch.cartesian_prod(numbers, numbers, numbers)
    x = torch.stack([rows, rows.flip(1)], 2)
    (ours,) = answers(found, tmp_path, x=torch.nn.functional.pad(x, (0, 6)))
    (theirs,) = eager(Doing(best), torch.nn.functional.pad(x, (0, 6)))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_batch_of_no_rows_gives_no_rows_and_no_steps_are_refused(kind: Any, tmp_path: Path) -> None:
    layer = kind(8, 3, batch_first=True, bidirectional=True)
    module = Doing(
        lambda parts, ids: parts["layer"](parts["embedding"](ids))[0], embedding=nn.Embedding(9, 8), layer=layer
    )
    found = exported(module, ["ids:int64[batch,time]"])
    assert answers(found, tmp_path, ids=torch.zeros(0, 7, dtype=torch.int64))[0].shape == (0, 7, 6)
    with pytest.raises(Exception, match="out of data bounds"):
        answers(found, tmp_path, ids=torch.zeros(2, 0, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="larger than 0"):
        eager(module, torch.zeros(2, 0, dtype=torch.int64))


def test_a_difference_at_nan_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(_: nn.ModuleDict, x: Tensor) -> Tensor:
        return torch.sign(x)  # 0 of NaN in PyTorch, NaN in ONNX

    (note,) = exported(Doing(twice)).notes
    assert note.startswith("With a NaN in x the graph does not answer as PyTorch does: Output output differs")
    monkeypatch.setattr(unusual, "_USUAL", ("a NaN",))
    with pytest.raises(ParityError, match="With a NaN in x: Output output differs"):
        exported(Doing(twice))


def test_a_difference_at_infinity_where_the_forward_goes_another_way_is_said() -> None:
    def certain(parts: nn.ModuleDict, x: Tensor) -> Tensor:
        if x.size(1) > 20:
            x = x * 0.0  # which no finite number shows: of one class the probability is 1
        found: Tensor = parts["head"](parts["gru"](x)[0].mean(1)).softmax(1)
        return found

    notes = exported(Doing(certain, gru=nn.GRU(8, 4, batch_first=True), head=nn.Linear(4, 1))).notes
    assert any(note.startswith("With infinity in x the graph does not answer as PyTorch does") for note in notes)


def test_an_output_is_declared_as_it_comes(tmp_path: Path) -> None:
    layers = {"linear": nn.Linear(16, 4), "gru": nn.GRU(4, 8, batch_first=True)}
    frames = Doing(lambda parts, x: parts["gru"](parts["linear"](x.unfold(1, 16, 10)))[0], **layers)
    found = exported(frames, ["x:float32[batch,time]"])  # traced where there is one frame
    x = torch.randn(2, 310)
    assert answers(found, tmp_path, x=x)[0].shape == (2, 30, 8)
    dims = found.model.graph.output[0].type.tensor_type.shape.dim
    assert dims[1].dim_value == 0
    assert dims[2].dim_value == 8


def test_a_declared_size_that_was_not_seen_gets_a_name() -> None:
    value = onnx.helper.make_tensor_value_info(
        "y", onnx.TensorProto.FLOAT, ["batch", 1, "time", "frames", "2*time//2", 4]
    )
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [value]))
    correct_shapes(
        model, [({"batch": 2, "time": 5}, [(2, 1, 5, 3, 5, 4)]), ({"batch": 3, "time": 9}, [(3, 30, 8, 4, 9, 4)])]
    )
    dims = model.graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", "y_1", "y_2", "frames", "time", 4]


def test_a_graph_that_ends_its_process_is_refused_with_the_part_that_does_it() -> None:
    module = Doing(
        lambda parts, x: parts["head"](parts["gru"](x)[0].double()),
        gru=nn.GRU(8, 6, batch_first=True),
        head=nn.Linear(6, 2).double(),
    )
    with pytest.raises(GraphEndsProcessError) as refused:
        exported(module)
    message = str(refused.value)
    assert "ended its process with SIGSEGV" in message
    assert "float64 in parts.head (Linear)" in message
    assert "model.float()" in message
    assert exported(Doing(lambda _, x: x + 1)).outputs == ("output",)  # another process takes the next one


def test_a_child_session_runs_fails_and_ends_alone(tmp_path: Path) -> None:
    found = exported(Doing(lambda _, x: x + 1), X)
    path = tmp_path / "graph.onnx"
    path.write_bytes(found.model.SerializeToString())
    with ChildSession(path) as session:
        x = np.ones((1, 2, 8), np.float32)
        assert np.array_equal(session.run(["output"], {"x": x})[0], x + 1)
        with pytest.raises(RunnerError, match="Got invalid dimensions"):
            session.run(["output"], {"x": x[:, :, :3]})
        assert session._process is not None
        session._process.kill()
        with pytest.raises(ProcessEndedError, match="SIGKILL"):
            session.run(["output"], {"x": x})
    path.write_bytes(b"no graph")
    with pytest.raises(RunnerError, match="cannot open"):
        ChildSession(path)


def test_an_unlikely_probability_keeps_its_digits(tmp_path: Path) -> None:
    module = Doing(lambda _, x: torch.sigmoid(x))
    found = exported(module)
    x = torch.tensor([-80.0, -20, -12, -7, 0, 9, 90, NAN]).reshape(1, 1, 8)
    np.testing.assert_allclose(answers(found, tmp_path, x=x)[0], eager(module, x)[0], rtol=2e-6)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_a_state_that_is_not_a_number_comes_out_as_in_pytorch(kind: Any, tmp_path: Path) -> None:
    def forward(parts: nn.ModuleDict, x: Tensor, h: Tensor) -> Any:
        return parts["layer"](x, (h, h * 2) if kind is nn.LSTM else h)

    module = Doing(forward, layer=kind(8, 3, batch_first=True))
    found = exported(module, (*X, "h:float32[1,batch,3]"))
    x, h = torch.randn(3, 4, 8), torch.randn(1, 3, 3)
    h[0, 1, 2] = NAN
    for ours, theirs in zip(answers(found, tmp_path, x=x, h=h), eager(module, x, h), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6, equal_nan=True)


def test_a_mean_of_no_steps_is_not_a_number(tmp_path: Path) -> None:
    module = Doing(lambda _, x: (x[:, 1:].mean(1), x[:, :-1].square().mean((1, 2)), x.mean()))
    found = exported(module)
    for time in (1, 2, 9):
        x = torch.randn(2, time, 8)
        for ours, theirs in zip(answers(found, tmp_path, x=x), eager(module, x), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6, equal_nan=True)


class TimeFirst(nn.Module):
    """ONNX Runtime joins its last transposition and product into an operator that fails without rows."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.transpose(0, 1)
        return self.head(self.norm(rows.transpose(1, 2)).transpose(1, 2))  # type: ignore[no-any-return]


def test_a_size_of_zero_is_tried_of_every_axis_and_said() -> None:
    found = export_module(TimeFirst().eval(), [input_spec_from_text("x:float32[time,batch,6]")])
    assert [note.partition(":")[0] for note in found.notes] == [
        "With batch=0 the graph does not answer as PyTorch does"
    ]


def test_what_is_cut_off_is_not_read_though_a_recurrence_forgets_it(tmp_path: Path) -> None:
    """Traced where nothing is cut off, the graph is equal at any size to the last digit, but for a NaN that was cut."""

    def forward(own: Any, x: Tensor) -> Tensor:
        if x.size(1) > 100:
            x = x[:, :100]
        result: Tensor = own["gru"](x)[0][:, :2]
        return result

    torch.manual_seed(0)
    module = Doing(forward, gru=nn.GRU(8, 4, batch_first=True, bidirectional=True)).eval()
    found = exported(module)
    x = torch.randn(2, 180, 8)
    x[1, 150:] = float("nan")
    (first,) = answers(found, tmp_path, x=x)
    np.testing.assert_allclose(first, eager(module, x)[0], atol=1e-5)
    assert np.isfinite(first).all()
