"""What a figure was measured on, for the line under its table."""

import platform
from importlib.metadata import version
from pathlib import Path

from runtime.device import num_cores


def machine() -> dict[str, str | int]:
    """Processor, usable cores, Python and runtime versions."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {
        "processor": model,
        "cores": num_cores(),
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
    }
