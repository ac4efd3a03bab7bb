import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.export.parity.damaged import damage, node_of
from tests.forked import Program
from tests.tiny_models import tiny_bundle, tiny_classifier_bundle

Export = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def export(program: Program) -> Export:
    """The command in a process of its own."""
    return partial(program, "export")


def test_build_verify_inspect_one_after_the_other(export: Export, tmp_path: Path) -> None:
    path = str(tiny_bundle(tmp_path, "rnn-tanh").path)
    built = export("build", path, "--set", "int8")
    assert built.returncode == 0, built.stderr
    assert "rise_of_nats_per_token" in built.stdout
    verified = export("verify", path)
    assert verified.returncode == 0, verified.stderr
    command = [sys.executable, "-m", "export", "inspect", path]  # where nothing is imported but by the program
    inspected = subprocess.run(command, check=False, capture_output=True, text=True)
    assert inspected.returncode == 0, inspected.stderr
    for part in ("state row, 80 numbers", "graph set int8", "advance", "ids: int64[batch,time]", "MatMulInteger"):
        assert part in inspected.stdout


def test_verify_says_where_it_wrote_and_names_a_fault(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RNNSERVE_CACHE", str(tmp_path / "cache"))
    bundle = tiny_classifier_bundle(tmp_path / "store", "gru")
    text = tmp_path / "text.txt"
    text.write_text("the cat sat\non the mat\n")
    built = export("build", str(bundle.path), "--set", "gpu-fp32")
    assert built.returncode == 0, built.stderr
    assert "This is a format check" in built.stdout
    verified = export("verify", str(bundle.path), "--text", str(text))
    assert verified.returncode == 0, verified.stderr
    (record,) = (tmp_path / "cache").rglob("verify-gpu-fp32-onnxruntime-cpu.json")
    assert f"written to {record}" in verified.stdout
    damage(bundle, "gpu-fp32", "classify", lambda model: node_of(model, "GRU").attribute.pop())
    damaged = export("verify", str(bundle.path))
    assert damaged.returncode == 1
    assert "misses linear_before_reset=1" in damaged.stderr
    assert json.loads(record.read_text())["is_passed"] is False
    inspected = export("inspect", str(bundle.path))
    assert "state row" not in inspected.stdout
    assert "measured when gpu-fp32 was built" in inspected.stdout


def test_an_error_is_one_sentence_and_exit_code_one(export: Export, tmp_path: Path) -> None:
    missing = export("build", str(tmp_path))
    assert missing.returncode == 1
    assert missing.stderr.startswith(f"error: No bundle at {tmp_path}.")
    assert "Traceback" not in missing.stderr
    path = tiny_bundle(tmp_path, "gru").path
    nothing = export("verify", str(path))
    assert nothing.returncode == 1
    assert "has no graph set. Build one: python -m export build" in nothing.stderr


def test_a_set_that_does_not_verify_gives_exit_code_one(export: Export, tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path, "gru").path
    wrong = export("build", str(path), "--set", "fp8")
    assert wrong.returncode == 1
    assert "Sets: fp32, int8, gpu-fp32, gpu-fp16." in wrong.stderr


def test_a_file_where_a_folder_should_be_is_one_sentence(export: Export, tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path, "gru").path
    (path / "onnx").touch()
    blocked = export("build", str(path), "--set", "int8")
    assert blocked.returncode == 1
    assert str(path / "onnx") in blocked.stderr
    assert "Traceback" not in blocked.stderr
