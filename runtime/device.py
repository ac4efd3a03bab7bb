"""The device and cores of this machine, and the folder of what belongs to a model on it. Knows no file formats.

$RNNSERVE_CACHE/<bundle sha>/<device>/     default ~/.cache/rnnserve; engines, timing caches, measurements
"""

import os
import platform
import re
from pathlib import Path

VARIABLE = "RNNSERVE_CACHE"
_GPUS = Path("/proc/driver/nvidia/gpus")
_PROCESSORS = Path("/proc/cpuinfo")


def cache_folder(bundle_sha256: str, device: str | None = None) -> Path:
    """The folder, which need not exist.

    Args:
        bundle_sha256: of the bundle's record.
        device: as `device_name` gives it; None for this machine's.
    """
    root = os.environ.get(VARIABLE)
    home = Path(root) if root else Path.home() / ".cache" / "rnnserve"
    return home / bundle_sha256 / (device or device_name())


def device_name() -> str:
    """The first NVIDIA GPU's name where the driver is loaded, else the processor's, in a-z, 0-9 and '-'."""
    for file in sorted(_GPUS.glob("*/information")):
        return plain(_line(file, "Model") or "nvidia-gpu")
    return plain(processor_name())


def processor_name() -> str:
    """What the system calls the processor; its architecture where it has no name."""
    return _line(_PROCESSORS, "model name") or platform.processor() or platform.machine() or "cpu"


def has_gpu() -> bool:
    """Whether the driver of an NVIDIA GPU is loaded and has one."""
    return any(_GPUS.glob("*/information"))


def num_cores() -> int:
    """The cores that this process may use, at least 1; where the system does not say (macOS), all there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def plain(name: str) -> str:
    """A name as a folder has it: "NVIDIA H200" is nvidia-h200."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unknown"


def _line(file: Path, key: str) -> str:
    """The value after "key:" in a file of such lines; "" where there is none."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(rf"^{re.escape(key)}\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else ""
