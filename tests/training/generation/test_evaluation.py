import numpy as np
import pytest
import torch

from models.cells import CELL_KINDS, CellKind
from models.config import LanguageModelConfig
from models.network.language_model import LanguageModel
from training.generation.evaluation import mean_nats
from training.generation.windows import Windows


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_nats_over_windows_equal_one_pass_over_the_whole_text(kind: CellKind) -> None:
    torch.manual_seed(3)
    model = LanguageModel(
        LanguageModelConfig(vocab_size=11, embedding_size=6, kind=kind, hidden_size=9, num_layers=2, dropout=0.5)
    )
    ids = np.random.default_rng(0).integers(0, 11, 203)
    model.eval()
    with torch.no_grad():
        logits, _ = model(torch.from_numpy(ids[None, :-1]), model.recurrent.zero_state(1))
    expected = -torch.log_softmax(logits[0].double(), -1)[torch.arange(202), torch.from_numpy(ids[1:])].mean()
    model.train()
    generators = torch.get_rng_state()
    for length in (1, 7, 64, 1000):
        assert mean_nats(model, Windows(ids, lanes=1, length=length)) == pytest.approx(float(expected), abs=1e-6)
    assert model.training
    assert torch.equal(generators, torch.get_rng_state())
