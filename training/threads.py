"""How many threads torch computes with on the CPU.

Sums are split among threads, so the last bits of the weights depend on their number: a recipe's `threads` fixes it.
"""

import os
from pathlib import Path

from training.recipe import Recipe

_TOPOLOGY = Path("/sys/devices/system/cpu")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def num_threads(recipe: Recipe) -> int:
    """Of each process: what the recipe says, or its part of the cores, and never more than OMP_NUM_THREADS."""
    if recipe.threads is not None:
        return recipe.threads
    processes = recipe.trainer.devices if recipe.trainer.accelerator == "cpu" else 1
    most = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, available_cores() // processes)
    return min(share, int(most)) if most.isdecimal() and int(most) else share


def available_cores() -> int:
    """Physical cores that this process may run on, as its affinity and its control group's quota have it."""
    cpus = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    cores = {_siblings(cpu) for cpu in cpus}
    return max(1, min(len(cores), _quota() or len(cores)))


def _siblings(cpu: int) -> str:
    """Which logical CPUs are one core with this one; itself where the system does not say it."""
    try:
        return (_TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        return str(cpu)


def _quota() -> int | None:
    """Whole cores that the control group may use, None without a limit."""
    try:
        quota, period = _QUOTA.read_text().split()
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None
