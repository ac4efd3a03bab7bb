"""The README's commands run and give what it says; the tree in CONTRIBUTING.md names every folder."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.real_server import RealServer, real_server

README = Path("README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```sh\n(curl .*?)```\s+```(json|text)\n(.*?)```", re.DOTALL)
VARYING = {
    *("text", "id", "created", "metrics", "finish_reason", "stop_reason", "completion_tokens"),
    *("score", "scores", "weights", "target_tokens"),
}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """What `make demo` starts."""
    log = tmp_path_factory.mktemp("demo") / "log"
    environment = {
        "RNNSERVE_DEFAULT_GENERATION": "shakespeare-char",
        "RNNSERVE_DEFAULT_TRANSLATION": "translate-en-zh",
        "RNNSERVE_DEFAULT_SENTIMENT": "sentiment-en",
    }
    models = "shakespeare-char,translate-en-zh,sentiment-en,sentiment-zh,tag-en"
    with real_server(Path("artifacts"), "--models", models, log=log, environment=environment) as server:
        yield server


def same(documented: Any, found: Any, where: str = "answer") -> None:
    """Equal but for texts and numbers that hang on the machine's rounding; those have the same type."""
    if isinstance(documented, dict):
        assert isinstance(found, dict), where
        assert list(documented) == list(found), where
        for key, value in documented.items():
            if key in VARYING:
                assert isinstance(found[key], type(value)) or key == "stop_reason", f"{where}.{key}"
            else:
                same(value, found[key], f"{where}.{key}")
    elif isinstance(documented, list):
        assert isinstance(found, list), where
        assert len(documented) == len(found), where
        for index, (first, second) in enumerate(zip(documented, found, strict=True)):
            same(first, second, f"{where}[{index}]")
    else:
        assert documented == found, where


@pytest.mark.parametrize("match", list(BLOCK.finditer(README)), ids=lambda match: match.group(1)[:60].split("8000")[-1])
def test_a_curl_command_gives_what_the_readme_says(match: re.Match[str], demo: RealServer) -> None:
    command, kind, documented = match.groups()
    command = command.replace("http://127.0.0.1:8000", demo.url)
    found = subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True).stdout
    if kind == "json":
        same(json.loads(documented), json.loads(found))
        return
    documented_events, found_events = (
        [line.removeprefix("data: ") for line in text.splitlines() if line] for text in (documented, found)
    )
    assert found_events[-1] == documented_events[-1] == "[DONE]"
    # A busy machine joins tokens into one event, so the number of events is not compared.
    assert set(json.loads(found_events[-2])) == set(json.loads(documented_events[-2]))
    assert "usage" in json.loads(found_events[-2])


@pytest.mark.parametrize("language", ["python", "js"])
def test_the_examples_of_other_languages_run(language: str, demo: RealServer, tmp_path: Path) -> None:
    program = {"python": sys.executable, "js": shutil.which("node")}[language]
    if program is None:
        pytest.skip("node is not installed")
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        file = tmp_path / f"example{number}.{'py' if language == 'python' else 'mjs'}"
        file.write_text(block.replace("http://127.0.0.1:8000", demo.url), encoding="utf-8")
        run = subprocess.run([program, file], capture_output=True, text=True, timeout=120, check=False)
        assert run.returncode == 0, run.stderr
        assert len(run.stdout) > 40


def test_there_are_commands_to_try() -> None:
    assert len(BLOCK.findall(README)) >= 6


def test_the_tree_names_every_folder() -> None:
    files = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True).stdout.splitlines()
    folders = {str(parent) for file in files for parent in Path(file).parents} - {"."}
    contributing = Path("CONTRIBUTING.md").read_text(encoding="utf-8")
    tree = contributing[contributing.index("## Where things are") :]
    for folder in sorted(folders):
        if folder.startswith(("tests/", "artifacts/")):
            continue  # tests mirror the source; bundles are listed by the server
        assert re.search(rf"^\s*{re.escape(Path(folder).name)}/", tree, re.MULTILINE), f"{folder} is not in the tree"


def test_the_chinese_readme_has_the_same_commands_and_tables_of_figures() -> None:
    chinese = Path("README.zh-CN.md").read_text(encoding="utf-8")
    code = re.compile(r"```.*?```", re.DOTALL)
    assert code.findall(chinese) == code.findall(README)
    numbers = re.compile(r"^\|.*\d.*\|$", re.MULTILINE)
    digits = [[re.findall(r"\d[\d.,]*", row) for row in numbers.findall(text)] for text in (README, chinese)]
    assert digits[0] == digits[1]
