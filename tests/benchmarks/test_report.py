import json
from pathlib import Path

import pytest
from rich.table import Table

from benchmarks.report import report
from export.figure import new_figure


def test_a_benchmark_ends_in_its_file_its_picture_and_one_line_of_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table("a wide column", title="a table")
    report("name", table, {"share": 0.5}, new_figure(2, 1), results=tmp_path / "results", pictures=tmp_path)
    shown = capsys.readouterr().out.splitlines()
    assert "a table" in shown[0]
    found = json.loads(shown[-1])
    assert found == json.loads((tmp_path / "results" / "name.json").read_text())
    assert (found["benchmark"], found["command"], found["result"]) == (
        "name",
        "python -m benchmarks name",
        {"share": 0.5},
    )
    assert found["machine"]["cores"] >= 1
    assert (tmp_path / "bench-name.svg").read_text().startswith("<?xml")


def test_the_same_figures_draw_the_same_file(tmp_path: Path) -> None:
    pictures = []
    for name in ("a", "b"):
        figure = new_figure(2, 1)
        figure.add_subplot().plot([1, 2], label="line")
        (tmp_path / name).mkdir()
        report("x", Table("a"), {}, figure, results=None, pictures=tmp_path / name)
        pictures.append((tmp_path / name / "bench-x.svg").read_bytes())
    assert pictures[0] == pictures[1]


def test_a_part_of_a_benchmark_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    report("x", [Table("a"), Table("b")], {}, results=None, pictures=None)
    assert list(tmp_path.iterdir()) == []
