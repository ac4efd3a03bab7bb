"""A container engine on the command line: docker, podman, or a script around podman.

RNNSERVE_CONTAINER_ENGINE names it. A script is called as `SCRIPT build TAG DOCKERFILE CONTEXT [OPTIONS]` and
`SCRIPT compose ARGUMENTS`; everything else goes to podman.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "RNNSERVE_CONTAINER_ENGINE"


@dataclass(frozen=True)
class ContainerEngine:
    """Commands of one engine. Every one waits, and fails with what was printed."""

    name: str

    @property
    def is_script(self) -> bool:
        return Path(self.name).name not in ("docker", "podman")

    @property
    def program(self) -> str:
        return "podman" if self.is_script else self.name

    def build(self, tag: str, dockerfile: Path, context: Path, *options: str) -> None:
        if self.is_script:
            run([self.name, "build", tag, str(dockerfile), str(context), *options], seconds=1800)
        else:
            run([self.name, "build", "--tag", tag, "--file", str(dockerfile), *options, str(context)], seconds=1800)

    def compose(self, file: Path, *arguments: str, environment: Mapping[str, str]) -> str:
        command = [self.name, "compose", "--file", str(file), *arguments]
        return run(command, seconds=300, environment=environment)

    def __call__(self, *arguments: str, seconds: int = 120) -> str:
        """Any other command; what it printed to standard output."""
        return run([self.program, *arguments], seconds=seconds)


def run(command: Sequence[str], *, seconds: int, environment: Mapping[str, str] | None = None) -> str:
    """Run a command without our RNNSERVE_ variables; its standard output. AssertionError if it fails."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RNNSERVE_")}
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=seconds, env={**plain, **(environment or {})}
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout
