"""docs/benchmarks.md, made of what the benchmarks left in benchmarks/results/: targets, tables, pictures, commands.

python -m benchmarks readme
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.report import PICTURES, RESULTS
from benchmarks.targets import number

DOCUMENT = PICTURES / "benchmarks.md"
# In this order; others after them.
INTRODUCTIONS = {
    "http": "Generated text over HTTP. The baseline is the step loop of the same round: the int8 graph alone at 64 "
    "rows, one thread, no prompts, no sampling. Client and server share the cores.",
    "scenarios": "The same under the scenarios of MLPerf; latencies count from when a request was due.",
    "comparison": "Other servers with the same graphs and the best settings found, with one and two model processes.",
    "prefix": "A prompt that was read before.",
    "translation": "Translation. The baseline is a batched decode loop over the same sources.",
    "sentiment": "Sentiment, compared with what the cores allow.",
    "overload": "Four times as many requests as can be answered, with clients that leave and malformed requests.",
    "start": "From the process's start to readiness.",
    "bare": "The step loops that are baselines of the others.",
}
_WITHOUT_SERVER = {"bare"}
_LANES_SINCE = "2026-11-29"  # the first day of the engine with lanes; dates are those of the results
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
    parts = ["# Benchmarks", "Written by `python -m benchmarks readme`; the numbers are in `benchmarks/results/`."]
    earlier = [name for name, each in found.items() if name not in _WITHOUT_SERVER and each["date"] < _LANES_SINCE]
    if earlier:
        parts.append(
            f"**The serving figures of {', '.join(earlier)} were measured with the engine before lanes** (commit "
            "897e3e8 is the last that has it; the results were recorded in commits 5067c94 to ca0fce8, just before). "
            "They say nothing of the present engine and are to be measured again."
        )
    parts.append(_markdown(_HEAD, [row for each in found.values() for row in _targets(each)]))
    for name, each in found.items():
        parts += [f"## {name}", *_benchmark(name, each, pictures)]
        for table in each["tables"]:
            if table["title"] != "Targets":
                parts += [table["title"], _markdown(table["columns"], table["rows"]), table["caption"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def _found(results: Path) -> dict[str, dict[str, Any]]:
    """What each benchmark left, in the documents' order. Raises ValueError."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
    if not found:
        raise ValueError(f"{results} has no results; run `make bench` first")
    names = [name for name in INTRODUCTIONS if name in found]
    names += [name for name, each in found.items() if name not in names and each["tables"]]
    return {name: found[name] for name in names}


def _benchmark(name: str, found: dict[str, Any], pictures: Path) -> Iterator[str]:
    """What it is, and its picture."""
    machine = found["machine"]
    made = f"`{found['command']}`, {found['date']}, {machine['cores']} x {machine['processor']}"
    yield f"{INTRODUCTIONS.get(name, '')} ({made})".strip()
    picture = pictures / f"bench-{name}.svg"
    if picture.is_file():
        yield f"![{name}]({picture.name})"


def _targets(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Rows for what was promised: its `targets`, its `target` (of its parts' shares or its median), its `checks`."""
    met, missed = "met", "**missed**"
    name, result = found["benchmark"], found["result"]
    for target in result.get("targets", []):
        yield name, f"{target['what']} {target['target']}", number(target["value"]), met if target["is_met"] else missed
    if "target" in result:
        parts = {key: each for key, each in result.items() if isinstance(each, dict) and "share" in each}
        for key, each in parts.items():
            yield name, f"{key}: {result['target']}", number(each["share"]), met if each["is_met"] else missed
        if not parts:
            yield name, result["target"], number(result["median_seconds"]), met if result["is_met"] else missed
    for check, is_met in result.get("checks", {}).items():
        yield name, check, "", met if is_met else missed


def _markdown(columns: Any, rows: Any) -> str:
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
