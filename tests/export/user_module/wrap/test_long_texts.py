"""What a module does otherwise with long texts than with short ones is made right, or refused by name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from tokenizers import Tokenizer as Backend

from export.build import verify_set
from export.user_module.wrap.command import architecture_with_code
from export.user_module.wrap.wrap import wrap_model
from models.errors import ExportError, ParityError
from models.tokenizer import Tokenizer
from tests.export.user_module.wrap import user_modules
from tests.export.user_module.wrap.test_wrap import MODULES, TOKENIZER, options, wrapped


@pytest.mark.parametrize(
    ("name", "task", "says"),
    [
        ("BranchingLM", "generation", r"Graph advance: .* asks whether time <= 100 \(user_modules\.py, line"),
        ("BranchingNumbers", "translation", r"Graph encode: .* asks whether source <= 100 \(user_modules\.py, line"),
        ("CountingReviews", "sentiment", r"Graph classify: .* asks whether batch\*time <= 3000 \(user_modules\.py"),
    ],
)
def test_a_branch_on_a_size_is_refused_with_its_question_and_line(
    tmp_path: Path, name: str, task: str, says: str
) -> None:
    with pytest.raises(ParityError, match=says):
        wrapped(tmp_path, name, task)


def test_a_forward_that_cuts_long_texts_is_right_for_long_and_short_ones(tmp_path: Path) -> None:
    found, _ = wrapped(tmp_path, "CuttingReviews", "sentiment")
    bundle = found.bundle
    module = user_modules.CuttingReviews().eval()
    module.load_state_dict({name: torch.from_numpy(value) for name, value in bundle.weights().items()})
    session = InferenceSession(str(bundle.graph_set("fp32").graph("classify")))
    for time in (16, 64, 80, 256):
        ids = torch.randint(user_modules.V, (3, time))
        lengths = torch.tensor([time, time // 2, 1])
        with torch.no_grad():
            expected = module(ids, lengths).numpy()
        (logits,) = session.run(None, {"ids": ids.numpy(), "lengths": lengths.numpy().astype(np.int32)})
        np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_a_published_bundle_that_ignores_a_branch_is_found_by_verification(tmp_path: Path) -> None:
    bundle = wrapped(tmp_path, "ResidualLM", "generation")[0].bundle
    right = architecture_with_code(bundle, f"{MODULES}:ResidualLM")
    assert verify_set(bundle, "fp32", architecture=right).is_passed
    branching = architecture_with_code(bundle, f"{MODULES}:BranchingLM")
    assert "worst_error" in verify_set(bundle, "fp32", architecture=branching).failure()


def test_a_length_at_which_the_forward_fails_is_told_with_the_way_round(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"takes texts of up to 200 tokens and fails at 201.*enable_truncation"):
        wrapped(tmp_path, "PlaceReviews", "sentiment")


def test_a_tokenizer_that_cuts_texts_keeps_a_forward_from_long_ones(tmp_path: Path) -> None:
    asked = options(tmp_path, "PlaceReviews", "sentiment")
    backend = Backend.from_str(TOKENIZER.to_json())
    backend.enable_truncation(128)
    assert asked.tokenizer is not None
    asked.tokenizer.write_text(Tokenizer(backend, only_reads=True).to_json())
    torch.manual_seed(3)
    assert wrap_model(asked).way == "wrapped"
