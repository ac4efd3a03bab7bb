"""CPU time of a server and of the client that loads it: both share the machine, so both are reported."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


def family_of(pid: int) -> Iterator[int]:
    """A process that lives, and its descendants."""
    yield pid
    try:
        children = [(task / "children").read_text(encoding="utf-8") for task in (_PROC / str(pid) / "task").iterdir()]
    except FileNotFoundError:  # it has ended since
        return
    for child in " ".join(children).split():
        yield from family_of(int(child))


def cpu_seconds_of(pid: int) -> float:
    """Seconds of CPU time of a process and its descendants since they started (proc(5): utime, stime and children's).

    Args:
        pid: of a process that lives.

    Raises:
        FileNotFoundError: it does not.
    """
    seconds = 0.0
    for member in family_of(pid):
        try:
            text = (_PROC / str(member) / "stat").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            if member == pid:
                raise
            continue  # it has ended since, and its time is in its parent's
        # The name before these fields is in brackets and may hold anything.
        seconds += sum(int(value) for value in text.rpartition(")")[2].split()[11:15]) / _TICKS
    return seconds


class CpuUse:
    """CPU seconds of a server and of this process, which is the client, since it was made.

    Args:
        pid: the server's process.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._server = cpu_seconds_of(pid)
        self._client = time.process_time()
        self._started = time.perf_counter()

    def per_second(self) -> dict[str, float]:
        """Cores that each has kept busy so far: CPU seconds for each second that has passed."""
        seconds = time.perf_counter() - self._started
        return {
            "server_cpu_per_second": (cpu_seconds_of(self._pid) - self._server) / seconds,
            "client_cpu_per_second": (time.process_time() - self._client) / seconds,
        }
