"""A cell registered outside the source tree, and one with parts of other widths: both build, export, verify and run."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tests.minimal_gated_cell  # noqa: F401  # registers it
from export.build import build_sets
from export.trace.reference import LanguageModelReference, with_weights
from models.bundle import Bundle
from models.cells import Cell
from models.config import RecurrentConfig
from models.errors import ConfigError, ExportError
from models.network.cells.stepped import register_cell
from models.network.language_model import LanguageModel
from models.network.recurrent import RecurrentStack
from runtime.opening import CPU, open_set
from runtime.runner import Array
from tests.tiny_models import tiny_bundle, tiny_classifier_bundle, tiny_translator_bundle

KIND = "minimal-gated"
KINDS = (KIND, "ntm")


def bundle_of(bundle: Bundle) -> Bundle:
    (report,) = build_sets(bundle, ("fp32",))
    assert report.is_passed
    return bundle


@pytest.fixture(scope="module", params=[KIND, pytest.param("ntm", marks=pytest.mark.slow)])
def language_model(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Bundle:
    return bundle_of(tiny_bundle(tmp_path_factory.mktemp("store"), request.param))


def test_a_language_model_of_it_answers_as_pytorch_does_alone_and_in_a_batch(language_model: Bundle) -> None:
    bundle = language_model
    reference = LanguageModelReference(with_weights(LanguageModel(bundle.config), bundle))  # type: ignore[arg-type]
    ids = np.random.default_rng(0).integers(bundle.sizes["V"], size=(7, 20))
    lengths = np.array([20, 3, 1, 20, 11, 16, 2], np.int32)
    state = np.zeros((7, bundle.sizes["D"]), np.float32)
    expected, expected_state = reference.score(ids, lengths, state)
    opened = open_set(CPU, bundle, "fp32")
    sequences, steps = opened.sequences(), opened.steps(8)
    found = sequences.run("advance", {"ids": ids, "lengths": lengths, "state": state})
    last = expected[np.arange(7), lengths - 1]
    np.testing.assert_allclose(found["logits"], last, atol=1e-5 * np.abs(last).max())
    np.testing.assert_allclose(found["new_state"], expected_state, atol=1e-5)
    for row, length in enumerate(lengths):
        own: dict[str, Array] = {
            "ids": ids[row : row + 1, :length].copy(),
            "lengths": lengths[row : row + 1],
            "state": state[:1],
        }
        alone = sequences.run("advance", own)
        assert alone["logits"].tobytes() == found["logits"][row].tobytes()
        steps.put(0, state[0])
        for token in ids[row, :length]:
            logits = steps.step(np.array([token]), np.zeros(1, np.int64))
        assert logits.tobytes() == found["logits"][row].tobytes()


@pytest.mark.parametrize("make", [tiny_translator_bundle, tiny_classifier_bundle])
def test_encoders_and_classifiers_of_it_read_in_both_directions(make: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle_of(make(tmp_path, KIND))  # an untrained ntm there may be further from PyTorch than is allowed


def test_a_server_opens_its_bundle_without_knowing_the_cell(language_model: Bundle) -> None:
    code = (
        "import sys; from models.bundle import Bundle; from runtime.opening import open_set;"
        f"bundle = Bundle({str(language_model.path)!r}); open_set('onnxruntime-cpu', bundle, 'fp32').steps(2);"
        "assert bundle.record.row and 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_set_that_a_traced_cell_cannot_have_is_refused_with_the_command(language_model: Bundle) -> None:
    with pytest.raises(ExportError, match=r"'(minimal-gated|ntm)' is traced .* not int8: .* --set fp32"):
        build_sets(language_model, ("fp32", "int8"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_batch_leaves_each_rows_state_where_the_row_ends(kind: str) -> None:
    torch.manual_seed(0)
    config = RecurrentConfig(kind=kind, input_size=5, hidden_size=6, num_layers=2, bidirectional=True)
    stack = RecurrentStack(config).eval()
    inputs, lengths = torch.randn(3, 7, 5), torch.tensor([7, 4, 1])
    outputs, state = stack(inputs, stack.zero_state(3), lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, own_state = stack(inputs[row : row + 1, :length], stack.zero_state(1))
        torch.testing.assert_close(outputs[row, :length], alone[0])
        torch.testing.assert_close(state[row], own_state[0])
        assert not outputs[row, length:].any()


def test_a_kind_that_is_taken_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'lstm' is already registered"):
        register_cell(Cell("lstm"), lambda *_: nn.Identity())
    with pytest.raises(ConfigError, match=r"'minimal-gated' is already registered with another step"):
        register_cell(Cell(KIND), lambda *_: nn.Identity())
