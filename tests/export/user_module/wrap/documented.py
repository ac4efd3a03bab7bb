"""The examples of docs/wrap.md: their files, their commands, and what they say the server answers."""

import re
import shlex
from pathlib import Path

from tests.forked import Program

DOCUMENT = Path("docs/wrap.md").read_text(encoding="utf-8")
_EXAMPLE = re.compile(r"^`(\w+\.py)`:.*?```python\n(.*?)```\s+```sh\n(.*?)```", re.DOTALL | re.MULTILINE)
_QUESTION = re.compile(r"```sh\n(curl .*?)```\s+```json\n(.*?)```", re.DOTALL)


def examples() -> list[tuple[str, str, str]]:
    """(file name, its text, commands) of each."""
    return _EXAMPLE.findall(DOCUMENT)


def questions() -> list[tuple[str, str]]:
    """(curl command, answer) of each."""
    return _QUESTION.findall(DOCUMENT)


def run_examples(program: Program, folder: Path) -> None:
    """Write the files into a folder and run the commands there, as a reader would."""
    for name, text, commands in examples():
        (folder / name).write_text(text, encoding="utf-8")
        for command in commands.replace("\\\n", " ").splitlines():
            python, *arguments = shlex.split(command)
            assert python == "python"
            module = arguments[1:] if arguments[0] == "-m" else [arguments[0].removesuffix(".py"), *arguments[1:]]
            done = program(*module, folder=folder)
            assert done.returncode == 0, done.stdout + done.stderr
