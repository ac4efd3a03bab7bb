"""What every benchmark gives: tables for people, figures for benchmarks/results/, a picture for docs/."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.machine import machine
from benchmarks.targets import Target, targets_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROOT = Path(__file__).parent.parent
RESULTS = _ROOT / "benchmarks" / "results"
PICTURES = _ROOT / "docs"
_WIDTH = 150


@dataclass(frozen=True)
class Report:
    """What a benchmark found.

    Attributes:
        name: the benchmark's, as `python -m benchmarks NAME` knows it.
        tables: what people read, without the targets.
        result: the figures; JSON.
        targets: what was promised of them.
        picture: drawn with matplotlib, or None.
    """

    name: str
    tables: Sequence[Table]
    result: dict[str, Any]
    targets: Sequence[Target] = ()
    picture: "Figure | None" = None

    def print(self) -> None:
        """Print the tables."""
        for table in (*self.tables, *([targets_table(self.targets)] if self.targets else [])):
            Console(width=_WIDTH).print(table)

    def write(self, results: Path = RESULTS, pictures: Path = PICTURES) -> None:
        """Write results/NAME.json, tables included, and bench-NAME.svg.

        Args:
            results: folder of the figures.
            pictures: folder of the pictures.
        """
        found = {
            "benchmark": self.name,
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "command": f"python -m benchmarks {self.name}",
            "machine": machine(),
            "tables": [_as_json(table) for table in self.tables],
            "targets": [target.as_json() for target in self.targets],
            "result": self.result,
        }
        results.mkdir(parents=True, exist_ok=True)
        (results / f"{self.name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if self.picture is not None:
            import matplotlib as mpl

            with mpl.rc_context({"svg.hashsalt": self.name}):  # the same figures give the same file
                self.picture.savefig(pictures / f"bench-{self.name}.svg", metadata={"Date": None})


def _as_json(table: Table) -> dict[str, Any]:
    """A table's texts, as the documents show them."""
    columns = [[_plain(cell) for cell in column.cells] for column in table.columns]
    return {
        "title": _plain(table.title),
        "columns": [_plain(column.header) for column in table.columns],
        "rows": [list(row) for row in zip(*columns, strict=True)],
        "caption": _plain(table.caption),
    }


def _plain(cell: object) -> str:
    """The text of a cell, without markup."""
    return Text.from_markup(cell).plain if isinstance(cell, str) else "" if cell is None else str(cell)
