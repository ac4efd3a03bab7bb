"""The console command, as it is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).parent / "rnnserve"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=120, cwd="/", check=False)


def test_it_says_its_version_and_its_commands() -> None:
    assert run("--version").stdout.startswith("rnnserve ")
    for asked in ((), ("--help",)):
        said = run(*asked)
        assert said.returncode == 0
        assert all(f"\n  {name} " in said.stdout for name in ("serve", "train", "export"))


def test_a_command_there_is_not_is_answered_with_the_one_that_was_meant() -> None:
    said = run("exprot", "build")
    assert (said.returncode, said.stderr) == (2, "rnnserve: 'exprot' is no command. Did you mean export?\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("serve", "--prot", "1"), 2, "rnnserve serve: '--prot' is not a flag. Did you mean --port?"),
        (("train", "run", "none.yaml"), 1, "none.yaml"),
        (("export", "inspect", "/nowhere/1"), 1, "/nowhere/1"),
    ],
)
def test_each_command_is_the_program_of_its_package(arguments: tuple[str, ...], code: int, message: str) -> None:
    said = run(*arguments)
    assert said.returncode == code, said
    assert message in said.stderr.replace("\n", " ")


def test_what_is_missing_is_named_with_what_brings_it() -> None:
    blocked = "import sys; sys.modules['yaml'] = None; sys.argv = ['rnnserve', 'train', 'recipes']; import rnnserve; "
    said = subprocess.run(
        [sys.executable, "-c", blocked + "rnnserve.main()"], capture_output=True, text=True, timeout=60, check=False
    )
    assert said.returncode == 3
    assert said.stderr == (
        "rnnserve train: the package yaml is not here; its extra is missing: pip install -e '.[train]'\n"
    )
