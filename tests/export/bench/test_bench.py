"""The bench: what it times and records, and that the server takes what was recorded."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from export.__main__ import bench as command
from export.bench.command import bench
from export.bench.picture import draw
from export.inspection import bundle_tables
from models.bundle import Bundle
from models.errors import BackendMissingError, ExportError
from runtime.choice import read_choices
from runtime.device import VARIABLE
from runtime.measuring import Variant, cases_of
from runtime.opening import CPU, CUDA, why_unavailable
from server.loading import load_models
from server.settings import Settings
from server.tasks import BY_NAME
from tests.tiny_models import tiny_bundle

Built = Callable[..., Bundle]
INT8, FP32 = Variant(CPU, "int8"), Variant(CPU, "fp32")


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))


def test_what_was_measured_is_recorded_and_the_server_takes_it(built_bundle: Built) -> None:
    bundle = built_bundle("gru")
    said: list[str] = []
    found = bench(bundle, rounds=1, say=said.append)
    assert found.variants[-2:] == (INT8, FP32)
    assert {item.case: set(item.seconds) for item in found.measured} == {
        case: set(found.variants) for case in cases_of(bundle)
    }
    path = found.record()
    assert read_choices(bundle) == found.choices
    assert path.is_file()
    assert any(table.title == "measured on this machine, fastest first" for table in bundle_tables(bundle))
    (model,) = load_models(
        Settings(
            store=bundle.path.parent.parent, models=(bundle.path.parent.name + "/" + bundle.path.name,), max_rows=4
        ),
        BY_NAME,
    )
    assert (model.backend, model.precision) == (found.choice.backend, found.choice.precision)


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
