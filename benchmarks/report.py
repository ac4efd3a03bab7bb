"""The end of every benchmark: its table, its file in benchmarks/results/, its picture in docs/, one line of JSON."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.machine import machine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROOT = Path(__file__).parent.parent
RESULTS = _ROOT / "benchmarks" / "results"
PICTURES = _ROOT / "docs"
_WIDTH = 170
NO_FILES: dict[str, Any] = {"results": None, "pictures": None}  # for a run of a part


def report(
    name: str,
    table: Table | Sequence[Table],
    result: dict[str, Any],
    picture: "Figure | None" = None,
    *,
    results: Path | None = RESULTS,
    pictures: Path | None = PICTURES,
) -> None:
    """Print the table, write results/NAME.json (tables included) and bench-NAME.svg, print the same JSON as one line.

    Args:
        name: the benchmark's, as `python -m benchmarks NAME` knows it.
        table: what people read; several, or none where it has been printed.
        result: the figures; JSON.
        picture: drawn with matplotlib, or None.
        results: folder of the files; None writes none, for a run of a part.
        pictures: folder of the pictures; None writes none.
    """
    tables = [table] if isinstance(table, Table) else list(table)
    found = {
        "benchmark": name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": f"python -m benchmarks {name}",
        "machine": machine(),
        "tables": [_as_json(each) for each in tables],
        "result": result,
    }
    if results is not None:
        results.mkdir(parents=True, exist_ok=True)
        (results / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if picture is not None and pictures is not None:
        import matplotlib as mpl

        with mpl.rc_context({"svg.hashsalt": name}):  # the same figures give the same file
            picture.savefig(pictures / f"bench-{name}.svg", metadata={"Date": None})
    for each in tables:
        Console(width=_WIDTH).print(each)
    print(json.dumps(found))
    sys.stdout.flush()


def _as_json(table: Table) -> dict[str, Any]:
    """A table's texts, as the README shows them."""
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
