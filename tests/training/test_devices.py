"""Several processes, precision and loggers, as a recipe asks for them."""

import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from models.bundle import Bundle
from models.errors import ConfigError
from tests.forked import Program
from tests.training.conftest import RecipeMaker, plain_recipe, write_data
from tests.training.test_resume import assert_same, without_times
from training.devices import fabric_of, logger_of
from training.recipe import Recipe, TrainerSection
from training.recipe_file import recipe_from_plain
from training.run import run

ROOT = Path(__file__).parents[2]


TWO_PROCESSES = {"accelerator": "cpu", "devices": 2, "strategy": "ddp"}


def with_dropout(folder: Path) -> dict[str, Any]:
    """On two processes, each with a dropout of its own."""
    return {**plain_recipe(folder), "epochs": 4, "trainer": TWO_PROCESSES}


def without_dropout(folder: Path) -> dict[str, Any]:
    """On one process."""
    recipe = plain_recipe(folder, "translation")
    recipe["model"]["dropout"] = 0.0
    return recipe


def written(folder: Path, name: str, recipe: dict[str, Any]) -> str:
    """The file of a recipe whose run writes into folder/name and folder/name-store."""
    places = {"run_dir": str(folder / name), "store": str(folder / f"{name}-store")}
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({**recipe, **places}), encoding="utf-8")  # JSON is YAML
    return str(path)


def finished(done: "subprocess.CompletedProcess[str]", num_runs: int = 1) -> tuple[list[Bundle], str]:
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == num_runs, "one process alone prints the bundle"
    return [Bundle(line) for line in done.stdout.splitlines()], done.stderr


@dataclass(frozen=True)
class Trained:
    """What two processes have trained: "both" without dropout, "whole" with it."""

    folder: Path
    both: Bundle
    whole: Bundle


@pytest.fixture(scope="module")
def trained(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One run after the other in the two processes that the first one starts; its recipe names no strategy."""
    folder = tmp_path_factory.mktemp("trained")
    write_data(folder)
    both = {**without_dropout(folder), "trainer": {"accelerator": "cpu", "devices": 2}}
    recipes = written(folder, "both", both), written(folder, "whole", with_dropout(folder))
    bundles, err = finished(program("tests.training.several_runs", *recipes), 2)
    assert err.count("epoch 1/4: training") == 1, "one process alone reports"
    return Trained(folder, *bundles)


def test_two_processes_killed_and_resumed_end_in_the_same_bits(program: Program, trained: Trained) -> None:
    recipe = written(trained.folder, "killed", with_dropout(trained.folder))
    command = [sys.executable, "-W", "error", "-m", "training", "run", recipe]
    killed = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (trained.folder / "killed/last.ckpt").exists() and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    killed.communicate(timeout=60)  # returns when the other process has closed its output, too: it does not wait
    assert killed.returncode == -signal.SIGKILL
    (resumed,), err = finished(program("training", "run", recipe))
    assert "resuming at epoch" in err
    assert resumed.record.files["weights.safetensors"] == trained.whole.record.files["weights.safetensors"]
    paths = [trained.folder / name / "last.ckpt" for name in ("whole", "killed")]
    checkpoints = [torch.load(path, weights_only=True) for path in paths]
    assert_same(without_times(checkpoints[0]), without_times(checkpoints[1]))
    one, other = checkpoints[0]["generators"], checkpoints[0]["other_generators"][0]
    assert not torch.equal(one["torch"], other["torch"])


def test_two_processes_compute_what_one_does(trained: Trained, tmp_path: Path) -> None:
    write_data(tmp_path)
    alone, both = Bundle(run(recipe_from_plain(without_dropout(tmp_path), "test recipe"))), trained.both
    for name, weights in alone.weights().items():
        torch.testing.assert_close(torch.from_numpy(both.weights()[name]), torch.from_numpy(weights), atol=1e-4, rtol=0)
    ours, theirs = (bundle.record.provenance["epochs"] for bundle in (alone, both))
    for one, other in zip(ours, theirs, strict=True):
        for figure in ("train_nats_per_token", "validation_nats_per_token"):
            assert other[figure] == pytest.approx(one[figure], abs=1e-4)


@pytest.mark.parametrize(
    "task", ["generation", "translation", pytest.param("sentiment, pre-trained", marks=pytest.mark.slow)]
)
def test_bfloat16_trains_and_resumes_to_the_same_bits(
    task: str, make_recipe: RecipeMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With GRUs: PyTorch computes them in bfloat16 on every CPU."""
    monkeypatch.setattr("training.devices._has_bfloat16", lambda **_: True)

    def recipe_in(name: str, precision: str = "bf16-mixed") -> Recipe:
        model = {**plain_recipe(tmp_path, task)["model"], "kind": "gru"}
        section = {"accelerator": "cpu", "precision": precision}
        return make_recipe(task=task, model=model, trainer=section, run_dir=str(tmp_path / name))

    whole, plain = Bundle(run(recipe_in("whole"))), Bundle(run(recipe_in("plain", "32-true")))

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.progress.Progress.finish_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            run(recipe_in("stopped"))
    resumed = Bundle(run(recipe_in("stopped")))
    digests = [bundle.record.files["weights.safetensors"] for bundle in (whole, resumed, plain)]
    assert digests[0] == digests[1] != digests[2]
    name = next(name for name in whole.record.metrics if "validation_nats" in name)
    assert whole.record.metrics[name] == pytest.approx(plain.record.metrics[name], rel=0.1)


def test_the_csv_log_has_every_update_and_every_epoch(make_recipe: RecipeMaker) -> None:
    recipe = make_recipe(trainer={"accelerator": "cpu", "logger": "csv"})
    epochs = Bundle(run(recipe)).record.provenance["epochs"]
    with (recipe.run_path / "csv/version_0/metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"step", "update_nats_per_token", "learning_rate"} <= set(rows[0])
    assert set(rows[0]) - {"step", "update_nats_per_token"} == set(epochs[0])
    updates = [row for row in rows if row["update_nats_per_token"]]
    assert [int(row["step"]) for row in updates] == list(range(1, len(updates) + 1))
    logged = [float(row["validation_nats_per_token"]) for row in rows if row["epoch"]]
    assert logged == [figures["validation_nats_per_token"] for figures in epochs]
    run(make_recipe(trainer={"accelerator": "cpu"}))  # another logger is the same run
    assert "logger" not in Bundle(run(recipe)).record.provenance["recipe"]["trainer"]


def test_tensorboard_writes_its_events(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    logger = logger_of("tensorboard", tmp_path)
    assert logger is not None
    logger.log_metrics({"loss": 1.0}, step=1)
    logger.save()
    assert list((tmp_path / "tensorboard/version_0").glob("events.*"))


def test_missing_tensorboard_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: None)
    with pytest.raises(ConfigError, match="tensorboard is not installed: pip install tensorboard"):
        fabric_of(TrainerSection(accelerator="cpu", logger="tensorboard"))


def test_more_gpus_than_there_are_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 2)
    with pytest.raises(ConfigError, match=r"trainer\.devices is 3 and torch sees 2 GPU; lower trainer\.devices"):
        fabric_of(TrainerSection(devices=3))


def test_a_device_without_bfloat16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 1)
    monkeypatch.setattr("training.devices._has_bfloat16", lambda **_: False)
    for accelerator, device in (("gpu", "GPU"), ("cpu", "CPU")):
        section = TrainerSection.model_validate({"accelerator": accelerator, "precision": "bf16-mixed"})
        with pytest.raises(ConfigError, match=f"this {device} has no bfloat16; use 32-true"):
            fabric_of(section)


def test_variables_of_a_cluster_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "1", "SLURM_PROCID": "2", "SLURM_LOCALID": "2"}.items():
        monkeypatch.setitem(os.environ, name, value)
    fabric = fabric_of(TrainerSection(accelerator="cpu"))
    assert (fabric.world_size, fabric.global_rank) == (1, 0)
