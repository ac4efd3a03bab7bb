"""The example of docs/export.md, run as it stands there, the command in a process of its own."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[3] / "docs" / "export.md"


def section() -> str:
    """What is written on a user's own module."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return text[text.index("## Your own module") :].partition("\n## ")[0]


def test_the_documented_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module, save, run = re.findall(r"```python\n(.*?)```", section(), re.DOTALL)
    (command,) = re.findall(r"```\n(python -m export module .*?)```", section(), re.DOTALL)
    (tmp_path / "intents.py").write_text(module, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    exec(compile(save, "save.py", "exec"), {})
    python, *arguments = shlex.split(command.replace("\\\n", " "))
    assert python == "python"
    exported = subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True)
    assert exported.returncode == 0, exported.stderr
    for part in ("int64[batch,time]", "out  logits", "float32[batch,4]", "out  attention", "2 LSTM", "1e-05"):
        assert part in exported.stdout
    assert exported.stderr.splitlines()[:2] == [
        "tracing Intents at batch=3, time=7",
        "comparing with PyTorch at other sizes",
    ]
    assert re.fullmatch(r"wrote intents\.onnx \([0-9.]+ MB\)", exported.stderr.splitlines()[2])
    assert len(exported.stderr.splitlines()) == 3
    names: dict[str, object] = {}
    exec(compile(run, "run.py", "exec"), names)
    assert names["logits"].shape == (2, 4)  # type: ignore[attr-defined]
    assert names["attention"][1, 2:].tolist() == [0, 0]  # type: ignore[index]
    assert capsys.readouterr().out.startswith("[")
