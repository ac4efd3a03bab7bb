import json
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

from benchmarks import readme
from benchmarks.readme import document
from benchmarks.report import PICTURES, RESULTS, report
from benchmarks.targets import Target


def write(results: Path, name: str, result: dict[str, Any], *cells: str) -> None:
    table = Table("row", "tokens/s", title=f"title of {name}", caption="median of 5")
    table.add_row(*cells)
    report(name, table, result, results=results, pictures=None)


def test_the_document_has_targets_tables_pictures_and_commands(tmp_path: Path) -> None:
    results, pictures = tmp_path / "results", tmp_path / "docs"
    pictures.mkdir()
    (pictures / "bench-http.svg").touch()
    missed = Target("share of the bare loop", ">=", 0.8, 0.31)
    write(results, "start", {"target": "ready in 3 s", "median_seconds": 0.71, "is_met": True}, "a|b", "1")
    parts = {"greedy": {"share": 0.9, "is_met": True}, "beam 4": {"share": 0.5, "is_met": False}}
    write(results, "translation", {"target": "share >= 0.8", **parts, "is_met": False}, "x", "1")
    write(results, "http", {"targets": [missed.as_json()]}, "[bold]whole[/bold]", "22,384")
    write(results, "step", {"checks": {"nothing hangs": True}}, "lstm", "1")
    text = document(results, pictures)
    lines = text.splitlines()
    assert "| http | share of the bare loop >= 0.8 | 0.31 | **missed** |" in lines
    assert "| start | ready in 3 s | 0.71 | met |" in lines
    assert "| translation | beam 4: share >= 0.8 | 0.5 | **missed** |" in lines
    assert "| step | nothing hangs |  | met |" in lines
    assert "| whole | 22,384 |" in lines
    assert "| a\\|b | 1 |" in lines
    assert "![http](bench-http.svg)" in lines
    assert text.index("## http") < text.index("## start") < text.index("## step")
    assert "`python -m benchmarks http`" in text
    assert "engine before lanes" not in text, "these were measured today"


def test_figures_of_the_engine_before_lanes_are_named(tmp_path: Path) -> None:
    for name, date in (("http", "2026-11-21"), ("start", "2026-11-30"), ("bare", "2026-11-21")):
        write(tmp_path, name, {}, "x", "1")
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"date": date}), encoding="utf-8")
    assert "**The serving figures of http were measured with the engine before lanes**" in document(tmp_path, tmp_path)


def test_without_results_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make bench"):
        document(tmp_path, tmp_path)


def test_the_program_writes_the_document_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "results", "start", {"target": "t", "median_seconds": 4, "is_met": False}, "x", "1")
    paths = {"RESULTS": tmp_path / "results", "PICTURES": tmp_path, "DOCUMENT": tmp_path / "benchmarks.md"}
    for name, value in paths.items():
        monkeypatch.setattr(readme, name, value)
    readme.main()
    assert "title of start" in (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    monkeypatch.setattr(readme, "RESULTS", tmp_path / "none")
    with pytest.raises(SystemExit, match="make bench"):
        readme.main()


def test_results_that_are_in_the_repository_can_be_shown() -> None:
    found = list(RESULTS.glob("*.json"))
    for path in found:
        assert json.loads(path.read_text(encoding="utf-8"))["benchmark"] == path.stem
    if found:
        assert document(RESULTS, PICTURES)
