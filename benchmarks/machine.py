"""What a figure was measured on, for the line under its table."""

import platform
from importlib.metadata import version

from runtime.device import num_cores, processor_name


def machine() -> dict[str, str | int]:
    """Processor, usable cores, Python and runtime versions."""
    return {
        "processor": processor_name(),
        "cores": num_cores(),
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
    }
