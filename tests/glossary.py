"""The words that the project does not use, with what it says instead: `python -m tests.glossary`, part of `make check`.

Looks at every Python file, document and configuration file that git tracks; exit code 1 and a line for each finding.
"""

import re
import subprocess
import sys
from pathlib import Path

INSTEAD = {
    r"news": "output, event",
    r"mail ?box|inbox|outbox|bulletin": "output queue, command queue",
    r"heed": "note, read",
    r"tells?|told": "call, report, emit, say",
    r"neighbours?": "the rest of the batch, batch-mates",
    r"company": "the rest of the batch",
    r"for want of": "because there is no",
    r"for ever": "without end",
    r"hears?|heard": "is notified, gets",
    r"peers?": "other servers, comparison",
    r"ladder": "ablation",
    r"served[ _]model|ServedModel|ModelFacts": "endpoint, loaded model, ModelInfo",
    r"however that comes about|nobody waits for|what is said to it": "plain words",
}
PATTERN = re.compile(rf"\b({'|'.join(INSTEAD)})\b", re.IGNORECASE)
SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".sh"}
# Words of other people: an API's own name, a licence, a quotation of data.
ALLOWED = re.compile(r"file\.tell\(|stream\.tell\(|study\.tell\(")


def findings(root: Path) -> list[str]:
    """Each use of a retired word: "file:line: word; say ..."."""
    files = subprocess.run(["git", "ls-files"], cwd=root, check=True, capture_output=True, text=True).stdout.split("\n")
    found = []
    for name in files:
        path = root / name
        if path.suffix not in SUFFIXES or path == Path(__file__).resolve() or not path.is_file():
            continue
        if name.startswith("artifacts/"):
            continue  # cards of bundles are hashed: they change when a model is trained anew
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for match in PATTERN.finditer(ALLOWED.sub("", line)):
                word = match.group(1)
                (instead,) = (say for words, say in INSTEAD.items() if re.fullmatch(words, word, re.IGNORECASE))
                found.append(f"{name}:{number}: {word!r}; say: {instead}")
    return found


def main() -> int:
    """Print what is found; the exit code."""
    found = findings(Path(__file__).resolve().parents[1])
    print("\n".join(found) or "no retired words")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
