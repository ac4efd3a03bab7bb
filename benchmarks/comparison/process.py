"""A server in processes of its own, all of which are found again and ended. Knows /proc; knows no server's settings."""

import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_MARK = "COMPARISON_RUN"  # in the environment of every process that a server starts, however far it moves away
_TICKS = os.sysconf("SC_CLK_TCK")
_GRACE = 3.0  # seconds between asking processes to end and ending them
_LOG_LINES = 30


class ServerProcess:
    """A program and all that it starts, from entering a `with` block to leaving it.

    Args:
        command: the program and its arguments.
        environment: variables besides those of this process.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = list(command)
        self._mark = uuid.uuid4().hex
        self._environment = {**os.environ, **environment, _MARK: self._mark}
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the block is left
        self._folder = tempfile.TemporaryDirectory(prefix="comparison-", ignore_cleanup_errors=True)
        self._process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        """Start it, in an empty folder."""
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder.name,
            env=self._environment | {"TMPDIR": self._folder.name},
            stdout=self._log,
            stderr=self._log,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it and whatever it has started: first by SIGTERM to the program, then by SIGKILL to what is left."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        deadline = time.perf_counter() + _GRACE
        while time.perf_counter() < deadline and self.pids():
            time.sleep(0.05)
        while left := self.pids():
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)
        self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def pids(self) -> list[int]:
        """Its processes that live, the program's first."""
        mark = f"{_MARK}={self._mark}".encode()
        program = self._process.pid
        found = [program] if self._process.poll() is None else []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and mark in _environment_of(folder) and int(folder.name) != program:
                found.append(int(folder.name))
        return found

    def cpu_seconds(self) -> float:
        """CPU time of its processes that live and of those that they have seen end (proc(5), fields 14 to 17)."""
        seconds = 0.0
        for pid in self.pids():
            try:
                stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            # The name before these fields is in brackets and may hold anything.
            seconds += sum(int(value) for value in stat.rpartition(")")[2].split()[11:15]) / _TICKS
        return seconds

    def check(self) -> None:
        """See that the program runs.

        Raises:
            RuntimeError: it has ended; with the last lines of what it wrote.
        """
        if self._process.poll() is not None:
            raise RuntimeError(
                f"{' '.join(self._command)} ended with code {self._process.returncode}:\n{self.last_words()}"
            )

    def last_words(self) -> str:
        """The last lines of what it wrote."""
        self._log.seek(0)
        return "\n".join(self._log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])


def machine_cpu_seconds() -> float:
    """CPU time that the whole machine has been busy since it started, what its host took included (proc(5), stat)."""
    user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text(encoding="utf-8").split()[1:9])
    return (user + nice + system + sum(rest)) / _TICKS


def _environment_of(folder: Path) -> list[bytes]:
    """The variables with which a process was started; none of one that is not ours to read or has ended."""
    try:
        return (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
