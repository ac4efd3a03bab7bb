"""The end of every benchmark: its table, its file in benchmarks/results/, its picture in docs/, one line of JSON."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROOT = Path(__file__).parent.parent
RESULTS = _ROOT / "benchmarks" / "results"
PICTURES = _ROOT / "docs"
_WIDTH = 150


def report(
    name: str,
    table: Table | Sequence[Table],
    result: dict[str, Any],
    picture: "Figure | None" = None,
    *,
    results: Path | None = RESULTS,
    pictures: Path | None = PICTURES,
) -> None:
    """Print the table, write results/NAME.json and bench-NAME.svg, print the same JSON as one line.

    Args:
        name: the benchmark's, as `python -m benchmarks NAME` knows it.
        table: what people read, or several.
        result: the figures; JSON.
        picture: drawn with matplotlib, or None.
        results: folder of the files; None writes none, for a run of a part.
        pictures: folder of the pictures; None writes none.
    """
    found = {
        "benchmark": name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": f"python -m benchmarks {name}",
        "machine": machine(),
        "result": result,
    }
    if results is not None:
        results.mkdir(parents=True, exist_ok=True)
        (results / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if picture is not None and pictures is not None:
        import matplotlib as mpl

        with mpl.rc_context({"svg.hashsalt": name}):  # the same figures give the same file
            picture.savefig(pictures / f"bench-{name}.svg", metadata={"Date": None})
    for each in [table] if isinstance(table, Table) else table:
        Console(width=_WIDTH).print(each)
    print(json.dumps(found))
    sys.stdout.flush()
