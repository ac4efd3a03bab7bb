import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from models.cells import CELL_KINDS, CellKind
from models.config import ClassifierConfig, RecurrentConfig
from models.network.classifier import Classifier
from models.network.recurrent import RecurrentStack
from training.sentiment.pretraining_module import PretrainingModule, TwoWayLanguageModel, TwoWayWindows

VOCAB = 11


@pytest.fixture
def module() -> PretrainingModule:
    torch.manual_seed(1)
    config = RecurrentConfig(kind="gru", input_size=4, hidden_size=5, num_layers=1, bidirectional=True)
    model = TwoWayLanguageModel(config, [3] * VOCAB, dropout=0.0)
    return PretrainingModule(model, np.ones(VOCAB))


def windows(directions: int = 2, negatives: int = 6) -> TwoWayWindows:
    ids = np.random.default_rng(3).integers(VOCAB, size=101)
    weights = np.full(VOCAB, 1 / VOCAB)
    return TwoWayWindows(ids, directions=directions, lanes=4, length=7, weights=weights, negatives=negatives, seed=5)


def test_with_every_token_as_a_negative_the_loss_is_the_full_softmax(module: PretrainingModule) -> None:
    window = next(windows().starting_at(0, 0))._replace(negatives=torch.arange(VOCAB))
    loss, _ = module(window, None)
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


def test_the_first_direction_may_read_the_tokens_otherwise() -> None:
    ids = np.arange(40) % VOCAB + VOCAB * 3
    weights = np.full(VOCAB, 1 / VOCAB)
    both = TwoWayWindows(
        ids, directions=2, lanes=1, length=39, weights=weights, negatives=2, seed=1, from_left=ids % VOCAB
    )
    (window,) = both.starting_at(0, 0)
    assert window.inputs[0].tolist() == [(ids[:-1] % VOCAB).tolist()]
    assert window.inputs[1].tolist() == [ids[:0:-1].tolist()]


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
    _, state = module(first, None)
    carried, _ = module(second, state)
    fresh, _ = module(second, None)
    assert float(carried.detach()) != float(fresh.detach())


@pytest.mark.parametrize("kind", CELL_KINDS)
@pytest.mark.parametrize("is_bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_classifier_reads_as_its_pretrained_layers_do(
    kind: CellKind, is_bidirectional: bool, num_layers: int
) -> None:
    config = ClassifierConfig(
        vocab_size=20, embedding_size=6, kind=kind, hidden_size=5, num_layers=num_layers, num_classes=2,
        bidirectional=is_bidirectional,
    )  # fmt: skip
    model = TwoWayLanguageModel(config.recurrent, [1] * 20, dropout=0.0).eval()
    classifier = Classifier(config).eval()
    model.give_to(classifier)
    ids = torch.randint(20, (3, 7))
    inputs = classifier.embedding(ids)
    assert torch.equal(inputs, model.embedding(ids))
    first_layer = classifier.recurrent.config.model_copy(update={"num_layers": 1})
    alone = Classifier(config.model_copy(update={"num_layers": 1})).eval()
    model.give_to(alone)
    outputs, _ = alone.recurrent(inputs, alone.recurrent.zero_state(3))
    sides = [ids, ids.flip(1)][: first_layer.num_directions]
    for number, (side, layer) in enumerate(zip(sides, model.layers, strict=True)):
        assert isinstance(layer, RecurrentStack)
        expected, _ = layer(model.embedding(side), layer.zero_state(3))
        found = outputs[:, :, number * 5 : (number + 1) * 5]
        torch.testing.assert_close(found, expected if number == 0 else expected.flip(1))
    for name, parameter in alone.recurrent.layers.named_parameters():
        assert torch.equal(parameter, dict(classifier.recurrent.layers.named_parameters())[name])


def test_the_bias_begins_as_the_tokens_frequencies() -> None:
    config = ClassifierConfig(vocab_size=3, embedding_size=2, kind="gru", hidden_size=2, num_layers=1, num_classes=2)
    model = TwoWayLanguageModel(config.recurrent, [0, 1, 5], dropout=0.0)
    torch.testing.assert_close(model.bias.exp(), torch.tensor([1.0, 2.0, 6.0]) / 9)
