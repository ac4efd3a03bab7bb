"""The bench: rounds are paired, the choice follows from the figures, and the server takes what was recorded."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from export.__main__ import bench as command
from export.bench.cases import Case, cases_of, prepared
from export.bench.command import bench
from export.bench.measured import Measured, chosen
from export.bench.picture import draw
from export.bench.timing import median_ratio, paired_seconds
from models.bundle import Bundle
from models.errors import BackendMissingError, ExportError
from runtime.choice import Choice, read_choice
from runtime.device import VARIABLE
from runtime.opening import CPU, CUDA, open_set, why_unavailable
from server.loading import load_models
from server.settings import Settings
from server.tasks import BY_NAME
from tests.tiny_models import tiny_bundle

Built = Callable[..., Bundle]
INT8, FP32 = Choice(CPU, "int8"), Choice(CPU, "fp32")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))


def test_variants_take_turns_and_each_is_first_as_often_as_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    monkeypatch.setattr("export.bench.timing._block", lambda _: 1)
    seconds = paired_seconds({name: partial(order.append, name) for name in "abc"}, rounds=6)
    assert ["".join(order[i : i + 3]) for i in range(0, 18, 3)] == ["abc", "bca", "cab"] * 2
    assert {name: len(rounds) for name, rounds in seconds.items()} == {"a": 6, "b": 6, "c": 6}


def test_a_ratio_is_taken_round_by_round() -> None:
    # a slow minute in which both were slow does not count for either
    assert median_ratio([1, 10, 1.2], [2, 20, 2.4]) == 0.5


def measured(graph: str, batch: int, **times: float) -> Measured:
    names = {"int8": INT8, "fp32": FP32}
    return Measured(
        Case(graph, batch, is_decisive=graph == "step"), {names[name]: [time] * 3 for name, time in times.items()}, {}
    )


def test_the_choice_is_the_least_geometric_mean_over_decisive_cases() -> None:
    both = (INT8, FP32)
    assert chosen([measured("step", 1, int8=1, fp32=3), measured("step", 64, int8=2, fp32=1)], both) == INT8
    assert chosen([measured("step", 1, int8=1, fp32=2), measured("step", 64, int8=3, fp32=1)], both) == FP32
    # reading prompts does not decide
    assert chosen([measured("step", 1, int8=1, fp32=2), measured("advance", 1, int8=99, fp32=1)], both) == INT8
    # a variant that failed in a decisive case is out
    assert chosen([measured("step", 1, int8=1, fp32=2), measured("step", 64, fp32=1)], both) == FP32


@pytest.mark.parametrize("task", ["generation", "translation", "sentiment"])
def test_every_case_of_every_task_runs(built_bundle: Built, task: str) -> None:
    bundle = built_bundle("gru", task)
    opened = open_set(CPU, bundle, "int8")
    cases = cases_of(bundle)
    assert any(case.is_decisive for case in cases)
    for case in cases:
        prepared(case, bundle, opened)()


def test_what_was_measured_is_recorded_and_the_server_takes_it(built_bundle: Built) -> None:
    bundle = built_bundle("gru")
    said: list[str] = []
    found = bench(bundle, rounds=1, say=said.append)
    assert found.variants[-2:] == (INT8, FP32)
    assert {item.case: set(item.seconds) for item in found.measured} == {
        case: set(found.variants) for case in cases_of(bundle)
    }
    path = found.record()
    assert read_choice(bundle.record.sha256) == found.choice
    assert f'"set": "{found.choice.set}"' in path.read_text()
    (model,) = load_models(
        Settings(
            store=bundle.path.parent.parent, models=(bundle.path.parent.name + "/" + bundle.path.name,), max_rows=4
        ),
        BY_NAME,
    )
    assert (model.backend, model.precision) == (found.choice.backend, found.choice.set)


def test_a_picture_is_drawn(built_bundle: Built, tmp_path: Path) -> None:
    found = bench(built_bundle("gru"), rounds=1)
    draw(found, tmp_path / "bench.svg")
    drawn = (tmp_path / "bench.svg").read_text()
    assert drawn.startswith("<?xml")


def test_without_matplotlib_the_picture_is_one_sentence(
    built_bundle: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = bench(built_bundle("gru"), rounds=1, sets=("fp32",))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(BackendMissingError, match=r"needs matplotlib.*extra train"):
        draw(found, tmp_path / "bench.png")


def test_wrong_names_and_missing_backends_are_said(built_bundle: Built, tmp_path: Path) -> None:
    bundle = built_bundle("gru")
    with pytest.raises(ExportError, match=r"no backend 'abacus'\. There are: tensorrt, onnxruntime-cuda"):
        bench(bundle, backends=("abacus",))
    with pytest.raises(ExportError, match=r"no graph set 'fp8'\. There are: .*int8"):
        bench(bundle, sets=("fp8",))
    if why_unavailable(CUDA) is not None:
        with pytest.raises(BackendMissingError, match="has no CUDAExecutionProvider here"):
            bench(bundle, backends=(CUDA,))
    with pytest.raises(ExportError, match=r"no graph set that can be timed here. Build one"):
        bench(tiny_bundle(tmp_path, "gru"))


def test_what_was_asked_for_by_name_is_not_recorded(
    built_bundle: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command(built_bundle("gru", "sentiment").path, sets=["fp32"], rounds=1, picture=tmp_path / "bench.svg")
    assert "not recorded" in capsys.readouterr().err
    assert (tmp_path / "bench.svg").is_file()
    assert not (tmp_path / "cache").exists()


def test_the_command_shows_a_table_and_says_what_it_chose(built_bundle: Built, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "export", "bench", str(built_bundle("gru", "sentiment").path), "--rounds", "1"]
    done = subprocess.run(arguments, check=False, capture_output=True, text=True, env={**os.environ, "COLUMNS": "160"})
    assert done.returncode == 0, done.stderr
    assert "classify 64 x 64" in done.stdout
    assert "int8 on onnxruntime-cpu" in done.stdout
    assert "chosen: " in done.stderr
    assert len(list((tmp_path / "cache").rglob("bench.png"))) == 1
