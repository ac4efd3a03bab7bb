"""The examples of docs/wrap.md: their files, their commands, and what they say the server answers."""

import os
import re
import subprocess
import sys
from pathlib import Path

DOCUMENT = Path("docs/wrap.md").read_text(encoding="utf-8")
_EXAMPLE = re.compile(r"^`(\w+\.py)`:.*?```python\n(.*?)```\s+```sh\n(.*?)```", re.DOTALL | re.MULTILINE)
_QUESTION = re.compile(r"```sh\n(curl .*?)```\s+```json\n(.*?)```", re.DOTALL)


def examples() -> list[tuple[str, str, str]]:
    """(file name, its text, commands) of each."""
    return _EXAMPLE.findall(DOCUMENT)


def questions() -> list[tuple[str, str]]:
    """(curl command, answer) of each."""
    return _QUESTION.findall(DOCUMENT)


def run_examples(folder: Path) -> None:
    """Write the files into a folder and run the commands there, as a reader would."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name, text, commands in examples():
        (folder / name).write_text(text, encoding="utf-8")
        done = subprocess.run(
            ["bash", "-e", "-c", commands], cwd=folder, env=environment, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
