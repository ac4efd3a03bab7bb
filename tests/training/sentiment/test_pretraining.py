import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from models.config import RecurrentConfig
from tests.training.conftest import RecipeMaker
from training.sentiment.pretraining_module import PretrainingModule
from training.sentiment.pretraining_module import TwoWayLanguageModel
from training.sentiment.pretraining import TwoWayWindows

VOCAB = 11


@pytest.fixture
def module(make_recipe: RecipeMaker) -> PretrainingModule:
    torch.manual_seed(1)
    config = RecurrentConfig(kind="gru", input_size=4, hidden_size=5, num_layers=1, bidirectional=True)
    model = TwoWayLanguageModel(config, [3] * VOCAB, dropout=0.0)
    recipe = make_recipe(task="sentiment")
    return PretrainingModule(model, recipe, num_updates=10, expected=np.ones(VOCAB))


def windows(directions: int = 2, negatives: int = 6) -> TwoWayWindows:
    ids = np.random.default_rng(3).integers(VOCAB, size=101)
    weights = np.full(VOCAB, 1 / VOCAB)
    return TwoWayWindows(ids, directions=directions, lanes=4, length=7, weights=weights, negatives=negatives, seed=5)


def test_with_every_token_as_a_negative_the_loss_is_the_full_softmax(module: PretrainingModule) -> None:
    window = next(windows().starting_at(0, 0))._replace(negatives=torch.arange(VOCAB))
    loss = module.training_step(window, 0)
    with torch.no_grad():
        found, _ = module.model.vectors(window.inputs, module.model.zero_state(4))
        expected = [
            cross_entropy(module.model.logits(vectors).flatten(0, 1), targets.flatten())
            for vectors, targets in zip(found, window.targets, strict=True)
        ]
    torch.testing.assert_close(loss.detach(), (expected[0] + expected[1]) / 2)


def test_the_second_direction_reads_the_text_from_its_end() -> None:
    batches = list(windows().starting_at(0, 0))
    rows = [torch.cat([window.inputs[side][0] for window in batches]) for side in (0, 1)]
    last_lane = torch.cat([window.targets[0][3] for window in batches])
    assert rows[1].tolist()[:25] == last_lane.flip(0).tolist()[:25]
    assert rows[0].tolist() != rows[1].tolist()


def test_a_batch_depends_on_epoch_and_position_alone() -> None:
    whole = list(windows().starting_at(1, 0))
    rest = list(windows().starting_at(1, 2))
    for one, other in zip(whole[2:], rest, strict=True):
        assert torch.equal(one.negatives, other.negatives)
        assert torch.equal(one.inputs[1], other.inputs[1])
    assert not torch.equal(whole[0].negatives, whole[1].negatives)
    assert not torch.equal(whole[0].negatives, next(windows().starting_at(2, 0)).negatives)


def test_the_state_is_carried_from_window_to_window(module: PretrainingModule) -> None:
    first, second, *_ = windows().starting_at(0, 0)
    module.training_step(first, 0)
    carried = module.training_step(second, 1)
    module.state = None
    fresh = module.training_step(second, 1)
    assert float(carried.detach()) != float(fresh.detach())
