"""Training texts that are labelled by trained classifiers."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle import Bundle
from models.config import ClassifierConfig
from models.errors import ConfigError
from models.network.classifier import Classifier
from tests.training.conftest import RecipeMaker
from training.run import run
from training.sentiment.batches import EncodedText, TextBatch, batch_of
from training.sentiment.module import SentimentModule
from training.sentiment.recipe import SentimentRecipe
from training.sentiment.task import SentimentTask
from training.sentiment.teachers import probabilities

LABELS = ["negative", "positive"]
TEXTS = ["a good film", "bad", "a bad plot and a good end", ""]


@pytest.fixture
def teacher(make_recipe: RecipeMaker) -> Bundle:
    return Bundle(run(make_recipe(task="sentiment")))


def test_the_probabilities_are_the_mean_of_each_teachers_own_answers(teacher: Bundle) -> None:
    assert isinstance(teacher.config, ClassifierConfig)
    network = Classifier(teacher.config).eval()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in teacher.weights().items()})
    found = probabilities([teacher, teacher], TEXTS, LABELS)
    for text, row in zip(TEXTS[:-1], found, strict=False):
        ids = teacher.tokenizer.encode(text)
        alone = network(torch.tensor([ids]), torch.tensor([len(ids)])).softmax(dim=1)[0]
        np.testing.assert_allclose(row, alone.detach().numpy(), atol=1e-6)
    assert np.isnan(found[-1]).all()


def test_a_run_trains_on_them(make_recipe: RecipeMaker, teacher: Bundle, tmp_path: Path) -> None:
    plain = make_recipe(task="sentiment", name="pupil", run_dir=str(tmp_path / "second")).model_dump()
    plain["data"]["datasets"][0]["labelled_by"] = [str(teacher.path)]
    recipe = SentimentRecipe.model_validate(plain, strict=False)
    task = SentimentTask.prepared(recipe, SentimentTask.read(recipe))
    batch = next(iter(task.batches.starting_at(0, 0)))
    assert isinstance(batch, TextBatch)
    assert batch.targets is not None
    assert batch.targets.shape == (len(batch.labels), 2)
    assert ((batch.targets > 0) & (batch.targets < 1)).any()
    card = (run(recipe) / "README.md").read_text(encoding="utf-8")
    assert f"labelled by {teacher.path}" in card


def test_a_teacher_of_other_classes_and_an_absent_one_are_refused(make_recipe: RecipeMaker, teacher: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"has the classes negative, positive and this run no, yes; they have to be"):
        probabilities([teacher], TEXTS, ["no", "yes"])
    plain = make_recipe(task="sentiment").model_dump()
    plain["data"]["datasets"][0]["labelled_by"] = ["nobody/3"]
    recipe = SentimentRecipe.model_validate(plain, strict=False)
    with pytest.raises(ConfigError, match=r"data.datasets.0.labelled_by: nobody/3 is not a folder"):
        SentimentTask.prepared(recipe, SentimentTask.read(recipe))


def test_a_batch_of_taught_and_other_texts_has_the_loss_of_each() -> None:
    texts = [EncodedText([3, 4], 1, (0.2, 0.8)), EncodedText([5], 0)]
    batch = batch_of(texts)
    assert batch.targets is not None
    np.testing.assert_allclose(batch.targets.numpy(), [[0.2, 0.8], [1.0, 0.0]])
    assert batch_of(texts[1:]).targets is None
    config = ClassifierConfig(
        vocab_size=9,
        embedding_size=4,
        kind="gru",
        hidden_size=5,
        num_layers=1,
        num_classes=2,
        bidirectional=True,
        pooling="mean",
        dropout=0.0,
    )
    network = Classifier(config).eval()
    loss, _ = SentimentModule(network, 0.0)(batch, None)
    logs = network(batch.ids, batch.lengths).log_softmax(dim=1)
    expected = -(0.2 * logs[0, 0] + 0.8 * logs[0, 1] + logs[1, 0]) / 2
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
