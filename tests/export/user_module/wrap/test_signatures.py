"""Common signatures, projections and computed weights, wrapped: what is served answers as the user's forward."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from export.user_module.wrap.wrap import Wrapped, wrap_model
from models.errors import ParityError, UnsupportedModelError
from runtime.onnxruntime.build import open_session
from tests.export.user_module.wrap import signatures
from tests.export.user_module.wrap.test_wrap import options

MODULES = "tests.export.user_module.wrap.signatures"


def wrapped(folder: Path, name: str, task: str = "generation") -> Wrapped:
    own = options(folder, name, task)
    torch.manual_seed(3)
    return wrap_model(type(own)(**{**vars(own), "reference": f"{MODULES}:{name}"}))


def read_alone(name: str, texts: list[list[int]]) -> list[Tensor]:
    """Logits after each text, by the user's forward, each text alone and from no state."""
    torch.manual_seed(3)
    module = getattr(signatures, name)().eval()
    found = []
    with torch.no_grad():
        for text in texts:
            lengths = [torch.tensor([len(text)])] if name == "WeightNormedLM" else []
            logits = module(torch.tensor([text]), *lengths)[0]
            found.append(logits[0, -1] if logits.dim() == 3 else logits[0])
    return found


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("HiddenLM", "native"),
        ("NormedHiddenLM", "wrapped"),
        ("LastLogitsLM", "native"),
        pytest.param("ProjectedLM", "wrapped", marks=pytest.mark.slow),
        pytest.param("WeightNormedLM", "wrapped", marks=pytest.mark.slow),
        ("WeightDroppedLM", "native"),
    ],
)
def test_a_language_model_answers_as_its_forward_does(name: str, way: str, tmp_path: Path) -> None:
    found = wrapped(tmp_path, name)
    assert found.way == way
    session = open_session(found.bundle.path / "onnx" / "fp32" / "advance.onnx")
    texts = [[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9], [2, 7, 1], [8], list(range(30)), [5] * 30]
    ids = np.zeros((5, 30), np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
    lengths = np.array([len(text) for text in texts], np.int32)
    state = np.zeros((5, found.bundle.record.state_width), np.float32)
    logits = session.run(["logits"], {"ids": ids, "lengths": lengths, "state": state})[0]
    for row, expected in enumerate(read_alone(name, texts)):
        np.testing.assert_allclose(logits[row], expected.numpy(), atol=3e-6)


def test_a_forward_without_lengths_that_reads_what_comes_after_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"worst_change_by_padding|worst_error"):
        wrapped(tmp_path, "BackwardsLM")


def test_logits_after_the_last_token_alone_need_lengths(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="takes no lengths and gives logits after the last token alone"):
        wrapped(tmp_path, "NormedLastLogitsLM")


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_a_zoneout_decoder_with_h_and_c_in_a_tuple_is_served(tmp_path: Path) -> None:
    found = wrapped(tmp_path, "ZoneoutTranslator", "translation")
    assert [entry.name for entry in found.bundle.record.row] == ["state.0", "state.1"]
    assert all(report.is_passed for report in found.reports)
