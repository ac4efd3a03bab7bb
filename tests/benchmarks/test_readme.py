import json
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

from benchmarks import readme
from benchmarks.readme import BEGIN, CHINESE, END, IN_CHINESE, section, tables, with_section
from benchmarks.report import PICTURES, RESULTS, report
from benchmarks.targets import Target


def write(results: Path, name: str, result: dict[str, Any], *cells: str) -> None:
    table = Table("row", "tokens/s", title=f"title of {name}", caption="median of 5")
    table.add_row(*cells)
    report(name, table, result, results=results, pictures=None)


def test_only_what_is_between_the_comments_changes() -> None:
    text = f"before\n\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_section(text, "new") == f"before\n\n{BEGIN}\nnew\n{END}\nafter\n"
    assert with_section(with_section(text, "newer"), "new") == with_section(text, "new")


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}{END}{END}"])
def test_a_readme_without_the_comments_is_left_alone(text: str) -> None:
    with pytest.raises(ValueError, match="these two lines once"):
        with_section(text, "new")


def test_the_section_has_targets_tables_pictures_and_commands(tmp_path: Path) -> None:
    results, pictures = tmp_path / "results", tmp_path / "docs"
    pictures.mkdir()
    (pictures / "bench-http.svg").touch()
    missed = Target("share of the bare loop", ">=", 0.8, 0.31)
    write(results, "start", {"target": "ready in 3 s", "median_seconds": 0.71, "is_met": True}, "a|b", "1")
    parts = {"greedy": {"share": 0.9, "is_met": True}, "beam 4": {"share": 0.5, "is_met": False}}
    write(results, "translation", {"target": "share >= 0.8", **parts, "is_met": False}, "x", "1")
    write(results, "http", {"targets": [missed.as_json()]}, "[bold]whole[/bold]", "22,384")
    write(results, "step", {"checks": {"nothing hangs": True}}, "lstm", "1")
    text = section(results, pictures)
    lines = text.splitlines()
    assert "| http | share of the bare loop >= 0.8 | 0.31 | **missed** |" in lines
    assert "| start | ready in 3 s | 0.71 | met |" in lines
    assert "| translation | beam 4: share >= 0.8 | 0.5 | **missed** |" in lines
    assert "| step | nothing hangs |  | met |" in lines
    assert "![http](docs/bench-http.svg)" in lines
    assert text.index("**http.**") < text.index("**start.**") < text.index("**step.**")
    assert "`python -m benchmarks http`" in text
    in_full = tables(results, pictures).splitlines()
    assert "| whole | 22,384 |" in in_full
    assert "| a\\|b | 1 |" in in_full
    assert "![http](bench-http.svg)" in in_full
    assert "| http | share of the bare loop >= 0.8 | 0.31 | **missed** |" in in_full
    chinese = section(results, pictures, IN_CHINESE)
    assert "| http | share of the bare loop >= 0.8 | 0.31 | **未达到** |" in chinese.splitlines()
    assert "benchmarks.md" in chinese


def test_without_results_it_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make bench"):
        section(tmp_path, tmp_path)


def test_the_program_rewrites_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "README.md"
    for each in (page, page.with_name(CHINESE)):
        each.write_text(f"a\n{BEGIN}\n{END}\nb\n", encoding="utf-8")
    write(tmp_path / "results", "start", {"target": "t", "median_seconds": 4, "is_met": False}, "x", "1")
    paths = {"README": page, "RESULTS": tmp_path / "results", "PICTURES": tmp_path, "TABLES": tmp_path / "tables.md"}
    for name, value in paths.items():
        monkeypatch.setattr(readme, name, value)
    readme.main()
    for each in (page, page.with_name(CHINESE)):
        assert "**start.**" in each.read_text(encoding="utf-8")
    assert "title of start" in (tmp_path / "tables.md").read_text(encoding="utf-8")
    page.write_text("nothing", encoding="utf-8")
    with pytest.raises(SystemExit, match="these two lines"):
        readme.main()


def test_results_that_are_in_the_repository_can_be_shown() -> None:
    found = list(RESULTS.glob("*.json"))
    for path in found:
        assert json.loads(path.read_text(encoding="utf-8"))["benchmark"] == path.stem
    if found:
        assert section(RESULTS, PICTURES)
