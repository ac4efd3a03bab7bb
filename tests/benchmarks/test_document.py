import json
from pathlib import Path

import pytest
from rich.table import Table

from benchmarks import document as document_module
from benchmarks.document import document
from benchmarks.report import PICTURES, RESULTS, Report
from benchmarks.targets import Target


def write(results: Path, name: str, targets: list[Target], *cells: str) -> None:
    table = Table("row", "tokens/s", title=f"title of {name}", caption="median of 5")
    table.add_row(*cells)
    Report(name, [table], {}, targets).write(results, results)


def test_the_document_has_targets_tables_pictures_and_commands(tmp_path: Path) -> None:
    results, pictures = tmp_path / "results", tmp_path / "docs"
    pictures.mkdir()
    (pictures / "bench-generation.svg").touch()
    write(results, "start", [Target("ready, seconds", "<=", 2, 0.71)], "a|b", "1")
    write(results, "generation", [Target("share", ">=", 0.8, 0.31)], "[bold]whole[/bold]", "22,384")
    write(results, "other", [], "lstm", "1")
    text = document(results, pictures)
    lines = text.splitlines()
    assert "| generation | share >= 0.8 | 0.31 | **missed** |" in lines
    assert "| start | ready, seconds <= 2 | 0.71 | met |" in lines
    assert "| whole | 22,384 |" in lines
    assert "| a\\|b | 1 |" in lines
    assert "![generation](bench-generation.svg)" in lines
    assert text.index("## generation") < text.index("## start") < text.index("## other")
    assert "`python -m benchmarks generation`" in text


def test_without_results_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--write"):
        document(tmp_path, tmp_path)


def test_the_program_writes_the_document_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "results", "start", [], "x", "1")
    paths = {"RESULTS": tmp_path / "results", "PICTURES": tmp_path, "DOCUMENT": tmp_path / "benchmarks.md"}
    for name, value in paths.items():
        monkeypatch.setattr(document_module, name, value)
    document_module.main()
    assert "title of start" in (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    monkeypatch.setattr(document_module, "RESULTS", tmp_path / "none")
    with pytest.raises(SystemExit, match="--write"):
        document_module.main()


def test_results_that_are_in_the_repository_can_be_shown() -> None:
    found = list(RESULTS.glob("*.json"))
    for path in found:
        assert json.loads(path.read_text(encoding="utf-8"))["benchmark"] == path.stem
    if found:
        assert document(RESULTS, PICTURES)
