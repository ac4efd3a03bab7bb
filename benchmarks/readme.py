"""The README's figures, made of what the benchmarks left in benchmarks/results/: between two comments, nothing else.

First what was promised and whether it holds, then for each benchmark its tables, its picture and the command.

    python -m benchmarks readme
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.report import PICTURES, RESULTS
from benchmarks.targets import number

README = RESULTS.parent.parent / "README.md"
BEGIN, END = "<!-- benchmarks: written by `python -m benchmarks readme` -->", "<!-- /benchmarks -->"
# In this order; others after them. What stands here is above the tables.
INTRODUCTIONS = {
    "http": "Generated text over HTTP, beside the bare step loop of the same round: the int8 graph alone at 64 rows, "
    "one thread, no prompts, no sampling. Client and server share the cores.",
    "scenarios": "The same under the scenarios of MLPerf; latencies count from when a request was due.",
    "ladder": "What each idea brings, without HTTP.",
    "peers": "Beside other servers with the same graphs, in one run.",
    "prefix": "A prompt that was read before.",
    "translation": "Translation, beside a bare batched decode loop over the same sources.",
    "sentiment": "Sentiment, beside what the cores allow.",
    "overload": "Four times as many requests as can be answered, with clients that leave and requests that are none.",
    "start": "From the process's start to readiness.",
    "engine": "The engine without HTTP.",
    "bare": "The step loops that the others are held beside.",
}
FOLDED = ("engine", "bare", "step", "precision")  # long, and for few readers


def main() -> None:
    """Rewrite the README's section.

    Raises:
        SystemExit: the README has no place for it.
    """
    try:
        text = with_section(README.read_text(encoding="utf-8"), section(RESULTS, PICTURES))
    except ValueError as error:
        sys.exit(f"{README}: {error}")
    README.write_text(text, encoding="utf-8")


def with_section(text: str, section: str) -> str:
    """The text with another section between the comments.

    Raises:
        ValueError: the two comments are not there, once each and in this order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(END) < text.index(BEGIN):
        raise ValueError(f"it must have these two lines once, in this order:\n{BEGIN}\n{END}")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{section}\n{END}{after}"


def section(results: Path, pictures: Path) -> str:
    """What is between the comments.

    Args:
        results: folder of the benchmarks' files.
        pictures: folder of their pictures, named in links as it is called in the repository.

    Raises:
        ValueError: there are no results.
    """
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
    if not found:
        raise ValueError(f"{results} has no results; run `make bench` first")
    names = [name for name in INTRODUCTIONS if name in found]
    names += [name for name, each in found.items() if name not in names and each["tables"]]
    parts = [
        _markdown(("benchmark", "target", "measured", ""), [row for name in names for row in _targets(found[name])])
    ]
    for name in names:
        parts += _benchmark(name, found[name], pictures)
    return "\n\n".join(part for part in parts if part)


def _benchmark(name: str, found: dict[str, Any], pictures: Path) -> Iterator[str]:
    machine = found["machine"]
    made = f"`{found['command']}`, {found['date']}, {machine['cores']} cores of {machine['processor']}"
    yield f"**{name}.** {INTRODUCTIONS.get(name, '')}".strip() + f" ({made})"
    picture = pictures / f"bench-{name}.svg"
    if picture.is_file():
        yield f"![{name}]({pictures.name}/{picture.name})"
    if name in FOLDED:
        yield f"<details><summary>{name}: tables</summary>"
    for table in found.get("tables", []):
        if table["title"] == "Targets":  # they stand at the top, with those of the others
            continue
        yield table["title"]
        yield _markdown(table["columns"], table["rows"])
        yield table["caption"]
    if name in FOLDED:
        yield "</details>"


def _targets(found: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Rows for what was promised: `targets` of a result, its `target`, or its `checks`."""
    name, result = found["benchmark"], found["result"]
    for target in result.get("targets", []):
        yield name, f"{target['what']} {target['target']}", number(target["value"]), _verdict(target["is_met"])
    if "target" in result:
        yield name, result["target"], "", _verdict(result["is_met"])
    for check, is_met in result.get("checks", {}).items():
        yield name, check, "", _verdict(is_met)


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "**missed**"


def _markdown(columns: Any, rows: Any) -> str:
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
