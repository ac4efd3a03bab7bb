import numpy as np
import pytest
import torch

from export.onnx.census import census
from export.onnx.int8.embedding import MAX_TABLE_SIZE
from export.onnx.int8.language_model import QuantizedLanguageModel
from models.cells import CELL_KINDS, CellKind
from models.config import LanguageModelConfig
from models.network.language_model import LanguageModel
from tests.export.graphs import run
from tests.tiny_models import tiny_config, tiny_model


def weights_of(model: LanguageModel) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy() for name, value in model.named_parameters()}


def scored(model: LanguageModel, config: LanguageModelConfig) -> tuple[np.ndarray, np.ndarray]:
    """Logits at every position: PyTorch's and the int8 graph's."""
    generator = np.random.default_rng(0)
    ids = generator.integers(config.vocab_size, size=(6, 30))
    lengths = np.full(6, 30, np.int32)
    state = np.zeros((6, config.recurrent.state_size), np.float32)
    with torch.inference_mode():
        expected, _ = model(torch.from_numpy(ids), torch.from_numpy(state))
    graph = QuantizedLanguageModel(config, weights_of(model)).graphs()["score"]
    return expected.numpy(), run(graph, {"ids": ids, "lengths": lengths, "state": state})["logits"]


@pytest.mark.parametrize("kind", CELL_KINDS)
@pytest.mark.parametrize("num_layers", [1, 3])
def test_int8_stays_close_to_pytorch(kind: CellKind, num_layers: int) -> None:
    config = tiny_config(kind, 20, num_layers=num_layers)
    expected, found = scored(tiny_model(config), config)
    assert np.abs(found - expected).mean() < 0.05 * expected.std()


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_a_large_vocabulary_is_quantised_by_rows_instead_of_a_table(kind: CellKind) -> None:
    vocab_size = MAX_TABLE_SIZE // 40 + 1
    config = tiny_config(kind, vocab_size)
    model = tiny_model(config)
    quantized = QuantizedLanguageModel(config, weights_of(model))
    assert not quantized.has_table
    expected, found = scored(model, config)
    assert np.abs(found - expected).mean() < 0.05 * expected.std()


def test_tied_embeddings_are_used_for_the_head() -> None:
    config = tiny_config("lstm", 20).model_copy(update={"embedding_size": 40, "tied_embeddings": True})
    expected, found = scored(tiny_model(config), config)
    assert np.abs(found - expected).mean() < 0.05 * expected.std()


def test_relu_ranges_are_measured_and_reported() -> None:
    config = tiny_config("rnn-relu", 20)
    notes = QuantizedLanguageModel(config, weights_of(tiny_model(config))).notes
    assert len(notes["relu_ranges"]) == config.num_layers
    assert all(bound > 0 for bound in notes["relu_ranges"])
    assert all(0 <= share < 1e-3 for share in notes["relu_clipped_shares"])


def test_the_sequence_graph_holds_the_nodes_of_the_step_in_a_scan_for_each_layer() -> None:
    config = tiny_config("lstm", 20)
    graphs = QuantizedLanguageModel(config, weights_of(tiny_model(config))).graphs()
    step, advance = census(graphs["step"]), census(graphs["advance"])
    for operator in ("Sigmoid", "Tanh", "Mul"):
        assert step[operator] == advance[operator]
    assert advance["Scan"] == config.num_layers
    assert advance["MatMulInteger"] == step["MatMulInteger"] + config.num_layers - 1  # the inputs' own products
