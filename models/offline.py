"""Switches off what a library would send of its own accord: no process connects to anything unasked."""

import os
import sys

VARIABLE = "ORT_DISABLE_TELEMETRY"  # of ONNX Runtime, from 1.29 on; read once, when it is imported


def switch_off_telemetry() -> None:
    """Keep ONNX Runtime from sending telemetry, in this process and in those that it starts.

    Its official builds otherwise keep a device id in the user's cache folder and send it with names of models, figures
    of the machine and counts of runs. Each package that may import onnxruntime calls this when it is itself imported,
    for the import is when the runtime decides. Where it was imported before, by a program that we are a part of, what
    can still be switched off is.
    """
    is_late = "onnxruntime" in sys.modules and os.environ.get(VARIABLE) != "1"
    os.environ[VARIABLE] = "1"
    if is_late:
        sys.modules["onnxruntime"].disable_telemetry_events()
