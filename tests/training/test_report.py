import io
import re

import pytest
from matplotlib.image import imread

from tests.training.conftest import RecipeMaker
from training.progress import Cycle, EpochFigures, Progress
from training.report import curves, rate_course, shown_figures, training_label
from training.run import run


def progress_of(**validation: float) -> Progress:
    history = [
        EpochFigures(
            epoch, {"train_nats_per_text": 0.9 / epoch}, {"validation_nats_per_text": 0.8, **validation}, 0.1, 1
        )
        for epoch in (1, 2, 3)
    ]
    return Progress(epoch=3, best_epoch=2, history=history, cycles=[Cycle(0, 20, 2), Cycle(20, 10, 3)])


def test_the_picture_has_losses_accuracy_and_learning_rate(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(task="sentiment", epochs=3)
    progress = progress_of(validation_accuracy=0.7, validation_macro_f1=0.6)
    picture = imread(io.BytesIO(curves(progress, recipe, "nats_per_text", 30)))
    assert picture.shape[0] > picture.shape[1]
    assert shown_figures(progress, "nats_per_text") == ["validation_accuracy", "validation_macro_f1"]


def test_without_another_figure_there_is_a_picture_too(make_recipe: RecipeMaker) -> None:
    assert curves(progress_of(), make_recipe(epochs=3), "nats_per_text", 30).startswith(b"\x89PNG")


def test_the_rate_is_that_of_each_update_through_all_cycles(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(epochs=3)
    epochs, rates = rate_course(progress_of(), recipe, 30)
    assert epochs[-1] == 3.0
    assert rates[4] == rates[22] == pytest.approx(recipe.optimizer.learning_rate)
    assert rates[20] < rates[22] > rates[29]


def test_the_legend_says_what_raises_the_training_loss(make_recipe: RecipeMaker) -> None:
    assert "label smoothing 0.1" in training_label(make_recipe(task="translation"))
    assert training_label(make_recipe()) == "training, with dropout"


def test_off_a_terminal_a_long_epoch_has_lines_of_its_own(
    make_recipe: RecipeMaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.report.SECONDS_BETWEEN_LINES", 0)
    run(make_recipe(epochs=1))
    lines = capsys.readouterr().err.splitlines()
    assert any(re.fullmatch(r"epoch 1/1 loss \d\.\d{3}, batch 1 of \d+", line) for line in lines)
