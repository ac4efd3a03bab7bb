import importlib.util
import json
import sys
from pathlib import Path

import pytest

from models.errors import ConfigError
from tests.training.conftest import plain_recipe, write_data
from training.__main__ import main
from training.sweep import Range, sweep

HAS_OPTUNA = importlib.util.find_spec("optuna") is not None
needs_optuna = pytest.mark.skipif(not HAS_OPTUNA, reason="the package optuna is not installed")


def recipe_file(folder: Path) -> Path:
    write_data(folder)
    path = folder / "tiny.yaml"
    path.write_text(json.dumps({**plain_recipe(folder), "epochs": 1}), encoding="utf-8")
    return path


def test_ranges_and_choices_are_read() -> None:
    assert Range.parse("seed=1..9") == Range("seed", low=1, high=9, is_whole=True)
    rate = Range.parse("optimizer.learning_rate=1e-4..1e-2")
    assert (rate.low, rate.high, rate.is_whole, rate.is_log) == (1e-4, 1e-2, False, True)
    assert not Range.parse("model.dropout=0.0..0.5").is_log
    assert Range.parse("model.kind=lstm,gru").choices == ("lstm", "gru")


@pytest.mark.parametrize("text", ["a", "a=", "=1..2", "a=2..1", "a=x..y", "a=1.."])
def test_a_broken_range_is_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="such as"):
        Range.parse(text)


def test_without_optuna_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match="pip install optuna"):
        sweep(recipe_file(tmp_path), ["seed=1..9"], trials=1, start=lambda *_: None, folder=tmp_path / "sweep")


@needs_optuna
def test_a_sweep_ends_in_a_table_and_the_best_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ranges = ["optimizer.learning_rate=1e-4..1e-1", "model.kind=gru,lstm", "model.dropout=0.1"]
    command = ["sweep", str(recipe_file(tmp_path)), *ranges, "--trials", "2", "--folder", str(tmp_path / "sweep")]
    monkeypatch.setattr(sys, "argv", ["training", *command])
    outputs = []
    for _ in range(2):  # the second time nothing is left to train
        with pytest.raises(SystemExit) as error:
            main()
        assert error.value.code == 0
        outputs.append(capsys.readouterr())
    table = (tmp_path / "sweep" / "trials.md").read_text(encoding="utf-8")
    assert table.count("nats_per_token") == 2
    best = outputs[0].out.splitlines()[-1]
    assert best in table.splitlines()[2]
    assert outputs[1].out == outputs[0].out
    assert "epoch 1/1" not in outputs[1].err


@needs_optuna
def test_a_trial_that_cannot_be_is_a_line_of_the_table(tmp_path: Path) -> None:
    def start(overrides: list[str], said: str) -> None:
        raise ConfigError("these two do not go together.")

    with pytest.raises(ConfigError, match=r"no trial ended; .*trials\.md says why"):
        sweep(recipe_file(tmp_path), ["seed=1,2"], trials=2, start=start, folder=tmp_path)
    assert (tmp_path / "trials.md").read_text(encoding="utf-8").count("do not go together") == 2
