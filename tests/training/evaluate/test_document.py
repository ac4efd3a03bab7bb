"""The commands of docs/training.md on evaluation, run as they stand there."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from tests.training.evaluate.test_evaluate import PAIRS, REVIEWS, file_of
from training.__main__ import main

ROOT = Path(__file__).parents[3]


def commands() -> list[str]:
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    section = text[text.index("## Evaluate a bundle") :].partition("\n## ")[0]
    return [line for block in re.findall(r"```\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("command", commands())
def test_the_documented_commands_run(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if " baseline " in command:
        pytest.importorskip("sklearn")
    file_of(tmp_path / "reviews.tsv", REVIEWS)
    file_of(tmp_path / "pairs.tsv", PAIRS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RNNSERVE_STORE", str(ROOT / "artifacts"))
    python, module, program, *arguments = shlex.split(command)
    assert (python, module, program) == ("python", "-m", "training")
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert ("against" in printed) == ("--against" in command)
    assert (tmp_path / "figures.json").exists() == ("--json" in command)
    assert "accuracy" in printed or "bleu_beam_4" in printed or "window_nats_per_character" in printed
