"""CPU time of a server and of the client that loads it: both share the machine, so both are reported."""

import os
import time
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds_of(pid: int) -> float:
    """Seconds of CPU time of a process and its descendants since they started (proc(5): utime, stime and children's).

    Args:
        pid: of a process that lives.

    Raises:
        FileNotFoundError: it does not.
    """
    folder = Path("/proc") / str(pid)
    # The name before these fields is in brackets and may hold anything.
    fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    seconds = sum(int(value) for value in fields[11:15]) / _TICKS
    for task in (folder / "task").iterdir():
        for child in (task / "children").read_text(encoding="utf-8").split():
            try:
                seconds += cpu_seconds_of(int(child))
            except FileNotFoundError:  # it has ended since, and its time is in its parent's
                continue
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
