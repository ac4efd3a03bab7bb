"""SIGKILL, SIGINT and SIGTERM, for real: at random batches of epochs, and in the middle of publishing."""

import json
import os
import random
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from models.bundle import Bundle
from models.store import Store
from tests.forked import Program
from tests.training.conftest import plain_recipe, write_data

OPTIONS: dict[str, dict[str, Any]] = {  # what draws random numbers, or keeps more than weights, is resumed with them
    "translation": {
        "average": {"kind": "swa", "start_share": 0.4},
        "regularization": {"weight_drop": 0.3, "locked_dropout": True, "embedding_dropout": 0.1},
        "bpe_dropout": 0.1,
    },
    "sentiment": {
        "average": {"kind": "ema", "decay": 0.9},
        "regularization": {"weight_drop": 0.3, "embedding_dropout": 0.1},
    },
}


def write_recipe(folder: Path, task: str, **changes: Any) -> Path:
    recipe = {**plain_recipe(folder, task), "epochs": 3, "patience": 3, **OPTIONS.get(task, {}), **changes}
    path = folder / f"{Path(recipe['run_dir']).name}.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
    return path


def without_times(checkpoint: dict[str, Any]) -> dict[str, Any]:
    progress = checkpoint["progress"]
    progress["seconds"] = 0
    for figures in progress["history"]:
        figures["seconds"] = 0
    return checkpoint


def assert_same(one: Any, other: Any, where: str = "checkpoint") -> None:
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for number, (item, its_twin) in enumerate(zip(one, other, strict=True)):
            assert_same(item, its_twin, f"{where}.{number}")
    else:
        assert one == other, where


@pytest.mark.parametrize(
    "task",
    [
        "generation",
        "translation",
        pytest.param("sentiment", marks=pytest.mark.slow),
        "sentiment, pre-trained",
        pytest.param("tagging, pre-trained", marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_anywhere_ends_in_the_same_bits(task: str, program: Program, tmp_path: Path) -> None:
    start = partial(program, "tests.training.killed_run")
    write_data(tmp_path)
    whole = write_recipe(tmp_path, task, run_dir=str(tmp_path / "whole"), store=str(tmp_path / "whole-store"))
    killed = write_recipe(tmp_path, task, run_dir=str(tmp_path / "killed"), store=str(tmp_path / "killed-store"))
    uninterrupted = start(str(whole), "never")
    assert uninterrupted.returncode == 0, uninterrupted.stderr

    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"KILL_SEED={seed}")
    dice = random.Random(seed)
    for _ in range(3):
        result = start(str(killed), str(dice.randrange(6, 24)))  # of 25 or more in an epoch; each 5th is saved
        assert result.returncode == -signal.SIGKILL, result.stderr
    store = Store(tmp_path / "killed-store")
    result = start(str(killed), "publish")
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert store.names() == []
    result = start(str(killed), "never")
    assert result.returncode == 0, result.stderr

    bundles = [Bundle(Path(item.stdout.splitlines()[-1])) for item in (uninterrupted, result)]
    assert store.versions("tiny") == [1]
    assert bundles[0].record.files["weights.safetensors"] == bundles[1].record.files["weights.safetensors"]
    assert bundles[0].record.metrics == bundles[1].record.metrics
    files = ["last.ckpt", *(["pretraining/last.ckpt"] if task.endswith("pre-trained") else [])]
    for file in files:
        checkpoints = [torch.load(tmp_path / name / file, weights_only=True) for name in ("whole", "killed")]
        assert_same(without_times(checkpoints[0]), without_times(checkpoints[1]))
    best = [(tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", "killed")]
    assert best[0] == best[1]


@pytest.mark.parametrize("task", ["generation", "sentiment"])
def test_a_run_stopped_by_signals_loses_nothing_and_ends_in_the_same_bits(
    task: str, program: Program, tmp_path: Path
) -> None:
    start = partial(program, "tests.training.killed_run")
    write_data(tmp_path)
    rare = {"checkpoint_every": 1000}  # none but those that a signal asks for, and one an epoch
    whole = write_recipe(tmp_path, task, run_dir=str(tmp_path / "whole"), store=str(tmp_path / "whole-store"), **rare)
    stopped = write_recipe(tmp_path, task, run_dir=str(tmp_path / "stopped"), store=str(tmp_path / "store"), **rare)
    uninterrupted = start(str(whole), "never")
    assert uninterrupted.returncode == 0, uninterrupted.stderr

    seed = int(os.environ.get("KILL_SEED", random.SystemRandom().randrange(10**6)))
    print(f"KILL_SEED={seed}")
    dice = random.Random(seed)
    before = (0, 0)
    for name, statuses in (
        ("SIGINT", {-signal.SIGINT, 1, 130}),
        ("SIGTERM", {143}),
        ("SIGINT", {-signal.SIGINT, 1, 130}),
    ):
        result = start(str(stopped), str(dice.randrange(1, 24)), name)
        assert result.returncode in statuses, result.stderr
        assert "the same command resumes" in result.stderr
        progress = torch.load(tmp_path / "stopped" / "last.ckpt", weights_only=True)["progress"]
        assert (progress["epoch"], progress["position"]) > before
        before = (progress["epoch"], progress["position"])
    result = start(str(stopped), "never")
    assert result.returncode == 0, result.stderr
    bundles = [Bundle(Path(item.stdout.splitlines()[-1])) for item in (uninterrupted, result)]
    assert bundles[0].record.files["weights.safetensors"] == bundles[1].record.files["weights.safetensors"]
    checkpoints = [torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "stopped")]
    assert_same(without_times(checkpoints[0]), without_times(checkpoints[1]))


def test_a_second_signal_leaves_at_once_without_a_checkpoint(program: Program, tmp_path: Path) -> None:
    write_data(tmp_path)
    recipe = write_recipe(tmp_path, "generation", checkpoint_every=1000)
    result = program("tests.training.killed_run", str(recipe), "3", "SIGTERM", "SIGTERM")
    assert result.returncode == 143, result.stderr
    assert not (tmp_path / "run" / "last.ckpt").exists()
