"""The command, run in this process in the folder of the user-style modules."""

from collections.abc import Sequence
from pathlib import Path

from typer.testing import CliRunner, Result

from export.__main__ import app

MODULES = Path(__file__).parent / "modules"


def run_module(reference: str, inputs: Sequence[str], output: Path, *options: str) -> Result:
    """Run `export module` and give what came of it; the current folder is the caller's to choose."""
    asked = [part for text in inputs for part in ("--input", text)]
    return CliRunner().invoke(app, ["module", reference, *asked, "--output", str(output), *options])


def failure(result: Result) -> str:
    """The message of a run that failed."""
    assert result.exception is not None, "the command passed"
    return f"{type(result.exception).__name__}: {result.exception}"
