"""The documents' figures, made of what the benchmarks left in benchmarks/results/.

In the READMEs, between two comments and nothing else: what was promised and whether it holds, and for each benchmark
its picture and its command; the Chinese one in Chinese words. All tables go to docs/benchmarks.md.

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
CHINESE = "README.zh-CN.md"  # beside it
TABLES = PICTURES / "benchmarks.md"
BEGIN, END = "<!-- benchmarks: written by `python -m benchmarks readme` -->", "<!-- /benchmarks -->"
# In this order; others after them: English, Chinese.
INTRODUCTIONS = {
    "http": (
        "Generated text over HTTP, beside the bare step loop of the same round: the int8 graph alone at 64 rows, one "
        "thread, no prompts, no sampling. Client and server share the cores.",
        "经 HTTP 生成文本,与同一轮的裸步进循环比较:仅 int8 图,64 行,单线程,无提示,无采样。客户端与服务器共用处理器核。",
    ),
    "scenarios": (
        "The same under the scenarios of MLPerf; latencies count from when a request was due.",
        "同样的负载,按 MLPerf 的场景;延迟自请求应发出之时算起。",
    ),
    "comparison": (
        "Beside other servers with the same graphs and the best settings found, with one and with two model processes.",
        "与其他服务器比较:同样的图,各用找到的最佳设置,一个和两个模型进程。",
    ),
    "prefix": ("A prompt that was read before.", "读过的提示。"),
    "translation": (
        "Translation, beside a bare batched decode loop over the same sources.",
        "翻译,与同样原文的裸批量解码循环比较。",
    ),
    "sentiment": ("Sentiment, beside what the cores allow.", "情感分类,与处理器核所允许的比较。"),
    "overload": (
        "Four times as many requests as can be answered, with clients that leave and requests that are none.",
        "四倍于能回答的请求,并有中途离开的客户端和无效的请求。",
    ),
    "start": ("From the process's start to readiness.", "从进程启动到就绪。"),
    "bare": ("The step loops that the others are held beside.", "供其他项比较的裸步进循环。"),
}
ENGLISH, IN_CHINESE = 0, 1
_HEAD = (("benchmark", "target", "measured", ""), ("测量", "目标", "实测", ""))
_VERDICTS = (("met", "**missed**"), ("达到", "**未达到**"))
_TABLES = (f"All tables: [{TABLES.name}](docs/{TABLES.name}).", f"全部表格:[{TABLES.name}](docs/{TABLES.name})。")


def main() -> None:
    """Rewrite the READMEs' sections and the tables.

    Raises:
        SystemExit: the README has no place for it.
    """
    for page, language in ((README, ENGLISH), (README.with_name(CHINESE), IN_CHINESE)):
        try:
            text = with_section(page.read_text(encoding="utf-8"), section(RESULTS, PICTURES, language))
        except ValueError as error:
            sys.exit(f"{page}: {error}")
        page.write_text(text, encoding="utf-8")
    TABLES.write_text(tables(RESULTS, PICTURES), encoding="utf-8")


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


def section(results: Path, pictures: Path, language: int = ENGLISH) -> str:
    """What is between the comments.

    Args:
        results: folder of the benchmarks' files.
        pictures: folder of their pictures, named in links as it is called in the repository.
        language: ENGLISH or IN_CHINESE.

    Raises:
        ValueError: there are no results.
    """
    found = _found(results)
    targets = [row for each in found.values() for row in _targets(each, _VERDICTS[language])]
    parts = [_markdown(_HEAD[language], targets)]
    for name, each in found.items():
        parts += _benchmark(name, each, pictures, f"{pictures.name}/", language)
    return "\n\n".join(part for part in [*parts, _TABLES[language]] if part)


def tables(results: Path, pictures: Path) -> str:
    """The document of all tables, which lies beside the pictures; arguments and errors as of `section`."""
    parts = ["# Benchmarks", "Written by `python -m benchmarks readme`; the numbers are in `benchmarks/results/`."]
    for name, each in _found(results).items():
        parts += [f"## {name}", *_benchmark(name, each, pictures, "", ENGLISH)]
        for table in each["tables"]:
            if table["title"] != "Targets":
                parts += [table["title"], _markdown(table["columns"], table["rows"]), table["caption"]]
        parts.append(_markdown(_HEAD[ENGLISH], list(_targets(each, _VERDICTS[ENGLISH]))))
    return "\n\n".join(part for part in parts if part) + "\n"


def _found(results: Path) -> dict[str, dict[str, Any]]:
    """What each benchmark left, in the documents' order. Raises ValueError."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))}
    if not found:
        raise ValueError(f"{results} has no results; run `make bench` first")
    names = [name for name in INTRODUCTIONS if name in found]
    names += [name for name, each in found.items() if name not in names and each["tables"]]
    return {name: found[name] for name in names}


def _benchmark(name: str, found: dict[str, Any], pictures: Path, folder: str, language: int) -> Iterator[str]:
    """What it is, and its picture, in a folder as links name it."""
    machine = found["machine"]
    made = f"`{found['command']}`, {found['date']}, {machine['cores']} x {machine['processor']}"
    yield f"**{name}.** {INTRODUCTIONS.get(name, ('', ''))[language]}".strip() + f" ({made})"
    picture = pictures / f"bench-{name}.svg"
    if picture.is_file():
        yield f"![{name}]({folder}{picture.name})"


def _targets(found: dict[str, Any], verdicts: tuple[str, str]) -> Iterator[tuple[str, ...]]:
    """Rows for what was promised: its `targets`, its `target` (of its parts' shares or its median), its `checks`."""
    met, missed = verdicts
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
