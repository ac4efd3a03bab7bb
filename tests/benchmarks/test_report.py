import json
from pathlib import Path

import pytest
from rich.table import Table

from benchmarks.report import Report
from benchmarks.targets import Target
from export.figure import new_figure


def test_a_report_is_printed_and_written_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("a wide column", title="a table")
    found = Report("name", [table], {"share": 0.5}, [Target("what", ">=", 0.4, 0.5)], new_figure(2, 1))
    found.print()
    shown = capsys.readouterr().out
    assert "a table" in shown
    assert "what" in shown
    assert not list(tmp_path.iterdir())
    found.write(tmp_path / "results", tmp_path)
    written = json.loads((tmp_path / "results" / "name.json").read_text())
    assert (written["benchmark"], written["command"]) == ("name", "python -m benchmarks name")
    assert written["result"] == {"share": 0.5}
    assert written["targets"][0]["is_met"]
    assert written["machine"]["cores"] >= 1
    assert (tmp_path / "bench-name.svg").read_text().startswith("<?xml")


def test_the_same_figures_draw_the_same_file(tmp_path: Path) -> None:
    pictures = []
    for name in ("a", "b"):
        figure = new_figure(2, 1)
        figure.add_subplot().plot([1, 2], label="line")
        (tmp_path / name).mkdir()
        Report("x", [Table("a")], {}, (), figure).write(tmp_path / name, tmp_path / name)
        pictures.append((tmp_path / name / "bench-x.svg").read_bytes())
    assert pictures[0] == pictures[1]
