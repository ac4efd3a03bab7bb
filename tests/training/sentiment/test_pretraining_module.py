import pytest
import torch

from models.cells import CELL_KINDS, CellKind
from models.config import ClassifierConfig
from models.network.classifier import Classifier
from models.network.recurrent import RecurrentStack
from training.sentiment.pretraining_module import TwoWayLanguageModel


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
