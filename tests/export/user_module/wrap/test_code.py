"""Code and weights that are not what a bundle is made of, or are to be made of, are reported by name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_model

from export.user_module.wrap.command import architecture_with_code
from export.user_module.wrap.wrap import wrap_model
from models.errors import ExportError, UnsupportedModelError
from tests.export.user_module.wrap import user_modules
from tests.export.user_module.wrap.test_wrap import MODULES, options, wrapped


def test_code_with_other_states_than_the_bundles_is_refused_with_both(tmp_path: Path) -> None:
    bundle = wrapped(tmp_path, "ResidualLM", "generation")[0].bundle
    with pytest.raises(
        ExportError, match=r"FewerStatesLM has the states state\[1, 16\], the bundle state\.h\[1, 16\], "
    ):
        architecture_with_code(bundle, f"{MODULES}:FewerStatesLM")


def test_random_weights_are_told(tmp_path: Path) -> None:
    _, said = wrapped(tmp_path, "SummingReviews", "sentiment")
    assert any(line.startswith("No --weights was given: the weights are those that") for line in said)


def test_a_weight_that_is_not_finite_is_named(tmp_path: Path) -> None:
    module = user_modules.ResidualLM()
    with torch.no_grad():
        module.out.bias[3] = float("nan")
    save_model(module, str(tmp_path / "w.safetensors"))
    with pytest.raises(ExportError, match=r"Weight out\.bias of ResidualLM is not finite: 1 of its 31 numbers"):
        wrap_model(options(tmp_path, "ResidualLM", "generation", weights=tmp_path / "w.safetensors"))


def test_a_forward_without_lengths_is_told_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"LengthlessLM\.forward\(ids.* does not take \(ids, lengths\)"):
        wrapped(tmp_path, "LengthlessLM", "generation")


def test_weights_of_data_parallel_are_recognised_by_their_names(tmp_path: Path) -> None:
    save_model(torch.nn.ModuleDict({"module": user_modules.ResidualLM()}), str(tmp_path / "w.safetensors"))
    with pytest.raises(ExportError, match=r"saved from DataParallel.* save_model\(model\.module"):
        wrap_model(options(tmp_path, "ResidualLM", "generation", weights=tmp_path / "w.safetensors"))
