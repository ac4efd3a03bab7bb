"""How long it takes to build and verify every graph of an LSTM of 2 layers of 512, sets fp32 and int8.

`python -m export build` and `verify`, in a process of their own, on a copy of the shipped model; interpreter and
imports are in the time.

    python -m benchmarks export
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.table import Table

from benchmarks.report import Report
from benchmarks.serving.w1 import MODEL, STORE
from benchmarks.targets import Target
from models.store import Store

ROUNDS = 3
MOST_SECONDS = 15.0


def main(num_rounds: int = ROUNDS) -> Report:
    """Measure."""
    seconds = [build_seconds() for _ in range(num_rounds)]
    table = Table("runs", "fastest, s", "median, s", "slowest, s", title=f"export build {MODEL}", title_justify="left")
    table.add_row(str(num_rounds), *(f"{it:.1f}" for it in (min(seconds), median(seconds), max(seconds))))
    target = Target("build and verify fp32 and int8, seconds", "<=", MOST_SECONDS, median(seconds))
    return Report("export", [table], {"seconds": seconds}, [target])


def build_seconds() -> float:
    """Seconds of one build, with verification.

    Raises:
        RuntimeError: it failed; with what it printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / MODEL / "1"
        shutil.copytree(Store(STORE).resolve(MODEL), bundle)
        shutil.rmtree(bundle / "onnx")
        command = [sys.executable, "-m", "export", "build", str(bundle), "--set", "fp32", "--set", "int8"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise RuntimeError(f"export build ended with code {done.returncode}: {done.stdout}{done.stderr}")
        return time.perf_counter() - started
