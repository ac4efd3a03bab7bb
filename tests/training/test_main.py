import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.bundle import Bundle
from tests.training.conftest import write_text
from training.__main__ import main

ROOT = Path(__file__).parents[2]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    with pytest.raises(SystemExit) as error:
        main()
    assert isinstance(error.value.code, int)
    return error.value.code


def test_without_a_command_it_helps(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch) == 0
    assert "recipes" in capsys.readouterr().out


def test_recipes_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "recipes") == 0
    assert "shakespeare-char.yaml  Tiny Shakespeare" in capsys.readouterr().out


def test_an_error_is_one_sentence_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "run", "training/recipes/builtin-tiny.yaml", "epochs=-1") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: recipe training/recipes/builtin-tiny.yaml: epochs: ")
    assert captured.err.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").write_text("a file", encoding="utf-8")
    assert call(monkeypatch, *arguments(tmp_path)) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: run_dir: {tmp_path / 'run'} is not a folder that can be written into;")
    assert message.count("\n") == 1


def arguments(folder: Path, *more: str) -> list[str]:
    write_text(folder)
    return [
        *(
            "run",
            str(ROOT / "training/recipes/your-text.yaml"),
            f"data.path={folder / 'text.txt'}",
            f"store={folder / 'store'}",
        ),
        *(f"run_dir={folder / 'run'}", "model.hidden_size=8", "batch.lanes=4", "batch.window=16", "threads=1"),
        *("trainer.accelerator=cpu", *more),
    ]


def test_the_last_line_is_the_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert call(monkeypatch, *arguments(tmp_path, "epochs=1")) == 0
    captured = capsys.readouterr()
    bundle = Bundle(captured.out.splitlines()[-1])
    assert bundle.id == "your-text/1"
    assert "epoch 1/1: training" in captured.err
    command = bundle.record.provenance["command"]
    assert command.startswith("python -m training run training/recipes/your-text.yaml data.path=")
    assert "store=" not in command


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_says_how_to_resume(number: signal.Signals, status: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training", *arguments(tmp_path, "epochs=100000", "patience=null")]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        pytest.skip("the tests run in the background, where SIGINT is ignored")
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not (tmp_path / "run" / "last.ckpt").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status, err
    assert out == ""
    assert "the same command resumes" in err
    assert "Traceback" not in err
