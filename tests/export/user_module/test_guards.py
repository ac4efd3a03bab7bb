"""Whatever a forward decides by a size is found where it decides otherwise: made right, or refused by name."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from torch import Tensor, nn

from export.user_module import export, prove
from export.user_module.export import Exported, export_module
from export.user_module.inputs import input_spec_from_text, value_range_from_text
from export.user_module.pace import MAX_TOTAL_SECONDS
from models.errors import ExportError, ParityError


class Reader(nn.Module):
    """A GRU over what the given function makes of the input [batch, time, 3]."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.GRU(3, 4, batch_first=True, bidirectional=True)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.layer(self.change(x))[0]
        return outputs.amax(1)


def exported(module: nn.Module, *ranges: str) -> Exported:
    specs = [input_spec_from_text("x:float32[batch,time,3]")]
    return export_module(module, specs, ranges=dict(value_range_from_text(text) for text in ranges))


def branch(question: Callable[[int, int], bool]) -> Callable[[Tensor], Tensor]:
    return lambda x: x * 0 if question(x.size(0), x.size(1)) else x


CUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "front": lambda x: x[:, :64],
    "end": lambda x: x[:, -80:],
    "least": lambda x: x[:, -min(x.size(1), 50) :],
    "rows": lambda x: x.reshape(-1, 1, 3)[:600],
    "by_hand": lambda x: x[:, :100] if x.size(1) > 100 else x,
}


@pytest.mark.parametrize("name", CUTS)
def test_truncation_is_right_on_both_sides_of_its_end(name: str) -> None:
    module = Reader(CUTS[name])
    found = exported(module)
    session = InferenceSession(found.model.SerializeToString())
    for batch, time in ((3, 5), (2, 63), (2, 64), (2, 65), (1, 81), (2, 101), (3, 201), (4, 400)):
        x = torch.randn(batch, time, 3)
        with torch.no_grad():
            expected = module(x).numpy()
        np.testing.assert_allclose(session.run(None, {"x": x.numpy()})[0], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("question", "guard"),
    [
        pytest.param(lambda batch, time: batch * time * 3 > 10_000, "3*batch*time <= 10000", marks=pytest.mark.slow),
        (lambda batch, time: batch * time > 5000, "batch*time <= 5000"),
        (lambda batch, time: batch + time > 200, "batch + time <= 200"),
        (lambda batch, time: batch > time + 60, "batch <= 60 + time"),
        (lambda batch, time: batch > 3 * time, "batch <= 3*time"),
        (lambda _batch, time: time % 30 == 0, "(time % 30) != 0"),
        (lambda _batch, time: time == 90, "time != 90"),
        (lambda _batch, time: time in (800, 900), "time != 800"),
        (lambda _batch, time: time // 30 >= 3, "(time // 30) < 3"),
    ],
)
def test_a_branch_on_sizes_is_refused_with_its_question_and_line(
    question: Callable[[int, int], bool], guard: str
) -> None:
    with pytest.raises(ParityError) as refused:
        exported(Reader(branch(question)))
    message = str(refused.value)
    assert f"asks whether {guard} (test_guards.py, line " in message
    assert "--range AXIS:LO..HI" in message


def test_promised_sizes_need_no_other_side_of_a_branch() -> None:
    module = Reader(branch(lambda batch, time: batch + time > 200))
    assert exported(module, "batch:1..50", "time:1..100").parity.compared


def test_a_branch_that_changes_nothing_passes() -> None:
    module = Reader(lambda x: x.clone() if x.size(0) * x.size(1) > 500 else x)
    assert any(sizes["batch"] * sizes["time"] > 500 for sizes in exported(module).parity.compared)


def test_an_output_that_is_one_number_is_compared() -> None:
    class Loss(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": x * 2, "loss": x.mean()}

    assert exported(Loss()).outputs == ("logits", "loss")


def test_lengths_of_another_name_ask_for_their_range() -> None:
    class Last(nn.Module):
        def forward(self, x: Tensor, lens: Tensor) -> Tensor:
            return x[torch.arange(x.size(0)), lens - 1]

    specs = [input_spec_from_text(text) for text in ("x:float32[batch,time,3]", "lens:int64[batch]")]
    with pytest.raises(ExportError, match=r"--range lens:1\.\.time"):
        export_module(Last(), specs)
    ranges = dict([value_range_from_text("lens:1..time")])
    assert export_module(Last(), specs, ranges=ranges).parity.refused == []


def test_a_size_far_away_is_tried_right_beside_the_decision() -> None:
    class Signal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv1d(1, 2, 400, stride=160)

        def forward(self, wave: Tensor) -> Tensor:
            if wave.size(1) > 480_000:
                wave = wave[:, :480_000]
            frames: Tensor = self.convolution(wave.unsqueeze(1))
            return frames

    specs = [input_spec_from_text("wave:float32[batch,time]")]
    found = export_module(Signal(), specs, ranges=dict([value_range_from_text("time:400..1000000")]))
    compared = {sizes["time"] for sizes in found.parity.compared}
    assert {480_000, 480_001} & compared
    assert max(compared) > 480_160
    assert found.notes == ()


def test_a_decision_far_away_is_found_between_the_numbers_that_are_tried() -> None:
    class Cut(nn.Module):
        def forward(self, wave: Tensor) -> Tensor:
            return wave * 0 if (wave.size(1) - 400) // 160 + 1 > 3000 else wave

    with pytest.raises(ParityError, match="at batch=3, time=480400"):
        export_module(Cut(), [input_spec_from_text("wave:float32[batch,time]")])


def test_sizes_that_are_not_tried_are_said() -> None:
    module = Reader(branch(lambda _batch, time: time > 48_000_000))
    (note,) = exported(module).notes
    assert note.startswith("Not compared where time <= 48000000 (test_guards.py, line ")
    assert "time=48000001: inputs of more than 4000000 numbers are not tried" in note
    assert "--range AXIS:LO..HI" in note
    assert exported(module, "time:1..48000000").notes == ()


def test_the_check_is_bound_by_time_and_says_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(0, 100_000, int(MAX_TOTAL_SECONDS) + 1))
    monkeypatch.setattr(export, "proven", partial(prove.proven, clock=lambda: next(ticks)))
    (note,) = exported(Reader(branch(lambda _batch, time: time > 200))).notes
    assert "Not compared where time <= 200" in note
    assert f"comparing took more than {MAX_TOTAL_SECONDS:g} seconds" in note
