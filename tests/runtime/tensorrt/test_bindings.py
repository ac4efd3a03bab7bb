"""The backend against TensorRT's real Python bindings and CUDA's, on a machine that need not have either's libraries.

RNNSERVE_TENSORRT_API is a folder with `site` (the packages tensorrt, tensorrt_bindings and, if it is to be checked too,
cuda), `lib` (what the bindings link to; empty stand-ins do) and `stubs` (type stubs of the bindings). See docs/gpu.md.
"""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.tensorrt.uses import FOLDER, overrides

ROOT = Path(__file__).parents[3]
API = os.environ.get("RNNSERVE_TENSORRT_API")
needs_api = pytest.mark.skipif(API is None, reason="RNNSERVE_TENSORRT_API is not set: no TensorRT bindings to check")


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "LD_LIBRARY_PATH": f"{API}/lib",
        "PYTHONPATH": f"{API}/site",
        "MYPYPATH": f"{API}/stubs",
    }


@cache
def report() -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.runtime.tensorrt.uses"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment())
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_api
def test_every_class_method_enum_member_and_signature_that_is_used_exists() -> None:
    assert report()["version"].startswith("11.4.")
    assert report()["problems"] == []


@needs_api
def test_the_names_that_a_build_and_a_run_need_are_among_those_found() -> None:
    found = {(use["owner"], use["name"], use["arguments"]) for use in report()["uses"]}
    assert {
        ("trt.NetworkDefinitionCreationFlag", "STRONGLY_TYPED", None),
        ("trt.BuilderFlag", "TF32", None),
        ("trt.MemoryPoolType", "WORKSPACE", None),
        ("OnnxParser", "parse_from_file", 1),
        ("Builder", "build_serialized_network", 2),
        ("IBuilderConfig", "set_timing_cache", 2),
        ("IOptimizationProfile", "set_shape", 4),
        ("Runtime", "deserialize_cuda_engine", 1),
        ("IExecutionContext", "set_optimization_profile_async", 2),
        ("IExecutionContext", "set_input_shape", 2),
        ("IExecutionContext", "execute_async_v3", 1),
        ("cudart", "cudaMemcpyAsync", 5),
        ("cudart", "cudaGraphLaunch", 2),
    } <= found


def test_what_tensorrt_calls_is_found() -> None:
    found = {name for path in FOLDER.glob("*.py") for name in overrides(path)}
    assert found == {("ILogger", "log")} | {
        ("IProgressMonitor", name) for name in ("phase_start", "step_complete", "phase_finish")
    }


@needs_api
def test_the_names_of_cuda_exist() -> None:
    if not report()["has_cuda"]:
        pytest.skip(f"no package cuda in {API}/site")
    assert not [text for text in report()["problems"] if "cudart" in text]


@needs_api
def test_a_machine_with_the_bindings_and_no_tensorrt_says_so() -> None:
    code = "from runtime.tensorrt.availability import why_unavailable; print(why_unavailable())"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT, env=environment()
    )
    assert done.stdout.startswith(("TensorRT needs an NVIDIA GPU", "TensorRT 11.4", "cuda-python is not installed"))


@needs_api
def test_types_hold_against_the_stubs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path), "-p", "runtime.tensorrt"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, env=environment())
    assert done.returncode == 0, done.stdout
