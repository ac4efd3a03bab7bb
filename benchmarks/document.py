"""docs/benchmarks.md, made of what the benchmarks left in benchmarks/results/: targets, tables, pictures, commands."""

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.report import PICTURES, RESULTS
from benchmarks.targets import number

DOCUMENT = PICTURES / "benchmarks.md"
# In this order; others after them.
INTRODUCTIONS = {
    "generation": "Text generation over HTTP: workload W1 (prompts of 8 to 256 characters, answers of 10 to 200), "
    "beside the core limit: cores / (m + h + c), what the cores could do if nothing but the necessary work were done.",
    "translation": "Translation beside the core limit.",
    "sentiment": "Sentiment beside the core limit.",
    "comparison": "Other servers with the same graphs, the best settings found, as many model processes as cores.",
    "open-loop": "W1 as a Poisson process at 60 % of the closed loop's rate.",
    "one-client": "One client that streams.",
    "mixed": "Rows whose tokens are not chosen inside the graph, beside rows whose tokens are.",
    "event-loop": "How late the event loop is while two models are busy.",
    "prefix": "A prompt that was read before.",
    "start": "From the process's start to readiness, and memory.",
    "overload": "Four times as many requests as can be answered, with clients that leave and malformed requests.",
    "export": "Building and verifying all graphs.",
    "step": "One decoding step of every cell kind.",
    "precision": "int8 beside fp32, for every cell kind.",
}
_HEAD = ("benchmark", "target", "measured", "")


def main() -> None:
    """Write the document.

    Raises:
        SystemExit: there are no results.
    """
    try:
        text = document(RESULTS, PICTURES)
    except ValueError as error:
        sys.exit(str(error))
    DOCUMENT.write_text(text, encoding="utf-8")


def document(results: Path, pictures: Path) -> str:
    """The document, which lies in the folder of the pictures.

    Args:
        results: folder of the benchmarks' files.
        pictures: folder of their pictures.

    Raises:
        ValueError: there are no results.
    """
    found = _found(results)
    parts = ["# Benchmarks", "Written by `python -m benchmarks --write`; the numbers are in `benchmarks/results/`."]
    parts.append(_markdown(_HEAD, [row for name, each in found.items() for row in _targets(name, each)]))
    for name, each in found.items():
        machine = each["machine"]
        made = f"`{each['command']}`, {each['date']}, {machine['cores']} x {machine['processor']}"
        parts += [f"## {name}", f"{INTRODUCTIONS.get(name, '')} ({made})".strip()]
        if (pictures / f"bench-{name}.svg").is_file():
            parts.append(f"![{name}](bench-{name}.svg)")
        for table in each["tables"]:
            parts += [table["title"], _markdown(table["columns"], table["rows"]), table["caption"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def _found(results: Path) -> dict[str, dict[str, Any]]:
    """What each benchmark left, in the document's order. Raises ValueError."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
    if not found:
        raise ValueError(f"{results} has no results; run `python -m benchmarks --write` first")
    names = [name for name in INTRODUCTIONS if name in found]
    names += [name for name in found if name not in names]
    return {name: found[name] for name in names}


def _targets(name: str, found: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (name, f"{it['what']} {it['target']}", number(it["value"]), "met" if it["is_met"] else "**missed**")
        for it in found["targets"]
    ]


def _markdown(columns: Any, rows: Any) -> str:
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
