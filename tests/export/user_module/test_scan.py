"""Cells around models.network.scan: their graphs answer as PyTorch does, and alone as in any batch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.user_module.draw import new_drawing
from export.user_module.inputs import input_spec_from_text
from export.user_module.parity import compare
from models.errors import ExportError
from models.network.scan import scan
from runtime.onnxruntime.build import open_session
from tests.export.user_module.exporting import WITH_LENGTHS, Doing, exported
from tests.export.user_module.modules.cells import ScannedLayerNormLstm, ScannedMinGru, ScannedNtm

SIZES = [{"batch": 5, "time": time} for time in (1, 2, 3, 7, 64)]
LENGTHS = [64, 1, 17, 64, 7]


@pytest.mark.parametrize(
    ("kind", "has_same_bits"),
    # The runtime's Pow and Softplus of a number depend on where it lies in their vectors: rounding, not bits.
    [(ScannedLayerNormLstm, True), (ScannedMinGru, True), (ScannedNtm, False)],
)
def test_a_cell_around_scan_answers_as_pytorch_does_alone_and_in_a_batch(
    kind: type[nn.Module], has_same_bits: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    module = kind().eval()
    found = exported(module, WITH_LENGTHS)
    assert found.operators["Scan"] == 1
    (tmp_path / "graph.onnx").write_bytes(found.model.SerializeToString())
    session = open_session(tmp_path / "graph.onnx")
    drawing = new_drawing(module, [input_spec_from_text(text) for text in WITH_LENGTHS], None)
    assert len(compare(module, session, drawing, SIZES, found.outputs).compared) == 2 * len(SIZES)  # ragged and full
    x, lengths = torch.randn(5, 64, 8).numpy(), np.array(LENGTHS)
    together = dict(zip(found.outputs, session.run(None, {"x": x, "lengths": lengths}), strict=True))
    for row, length in enumerate(LENGTHS):
        own = {"x": x[row : row + 1, :length].copy(), "lengths": lengths[row : row + 1]}
        for name, alone in zip(found.outputs, session.run(None, own), strict=True):
            is_sequence = name in ("output_0", "outputs", "reads")
            in_batch = together[name][row, :length] if is_sequence else together[name][row]
            np.testing.assert_allclose(alone[0], in_batch, atol=1e-6)
            assert not has_same_bits or alone[0].tobytes() == in_batch.tobytes(), (name, length)


def test_what_does_not_fit_is_reported_with_the_users_own_line() -> None:
    def grows(_: nn.ModuleDict, x: Tensor) -> Tensor:
        _, state = scan(lambda frame, h: (frame, h + frame), x, x.new_zeros(1, 8))
        assert isinstance(state, Tensor)
        return state

    with pytest.raises(ExportError, match=r"State \[0\] is float32\[1, 8\] before a step and float32\[.*8\] after it"):
        exported(Doing(grows))


def test_a_question_about_sizes_inside_a_step_is_kept_by_the_trace() -> None:
    def decides(_: nn.ModuleDict, x: Tensor) -> Tensor:
        def step(frame: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
            h = (h + frame if frame.size(0) < 30 else h - frame).tanh()
            return h, h

        outputs: Tensor = scan(step, x, torch.zeros(x.size(0), 8))[0]
        return outputs

    with pytest.raises(ExportError, match=r"whether batch < 30 \(test_scan.py, line \d+: h = "):
        exported(Doing(decides))
