import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score  # type: ignore[import-untyped]

from models.config import ClassifierConfig
from models.network.classifier import Classifier
from training.sentiment.batches import EncodedText
from training.sentiment.evaluation import Scores, scores


def test_scores_are_those_of_each_text_alone() -> None:
    torch.manual_seed(2)
    config = ClassifierConfig(vocab_size=20, embedding_size=6, kind="lstm", hidden_size=5, num_layers=1, num_classes=3)
    model = Classifier(config)
    dice = np.random.default_rng(1)
    texts = [EncodedText(dice.integers(0, 20, n).tolist(), int(dice.integers(3))) for n in dice.integers(1, 30, 50)]
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(torch.tensor([text.ids]), torch.tensor([len(text.ids)])) for text in texts])
    labels, guesses = [text.label for text in texts], logits.argmax(1).tolist()
    found = scores(model.train(), texts)
    assert model.training
    log_p = logits.double().log_softmax(1)[torch.arange(50), torch.tensor(labels)]
    assert found.nats == pytest.approx(-float(log_p.mean()), abs=1e-6)
    assert found.accuracy == np.mean(np.equal(labels, guesses))
    assert found.macro_f1 == pytest.approx(f1_score(labels, guesses, average="macro", labels=[0, 1, 2]))
    assert found.counts.sum() == 50


def test_a_class_that_is_never_given_counts_as_zero() -> None:
    found = Scores(0.7, np.array([[6, 0], [2, 0]]))
    assert found.accuracy == 0.75
    assert found.macro_f1 == pytest.approx((12 / 14 + 0) / 2)
