"""No process of ours sends anything of its own accord: ONNX Runtime's telemetry is off before it is imported."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models.bundle import Bundle
from models.cells import CellKind
from models.offline import VARIABLE
from runtime.device import VARIABLE as CACHE
from tests.end_to_end.real_server import real_server
from tests.test_layering import ROOT, imported

PROGRAMS = ("models", "runtime", "server", "training", "export", "benchmarks", "loadtest", "tests")
_LOOPBACK = ("127.0.0.1", "::1")


def plain_environment(home: Path) -> dict[str, str]:
    """As a user has it, with a cache folder of its own, where the runtime would keep its device id."""
    kept = {name: value for name, value in os.environ.items() if name not in (VARIABLE, "XDG_CACHE_HOME", "CI")}
    return {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}


@pytest.mark.parametrize("package", PROGRAMS)
def test_the_runtime_keeps_no_device_id_whichever_package_imports_it(package: str, tmp_path: Path) -> None:
    code = f"import {package}, os; assert os.environ[{VARIABLE!r}] == '1'; import onnxruntime"
    environment = plain_environment(tmp_path)
    for given in ({}, {VARIABLE: "0"}):
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**environment, **given}, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_where_another_program_has_imported_the_runtime_its_events_are_switched_off() -> None:
    code = (
        "import sys, types; calls = []; sys.modules['onnxruntime'] = types.ModuleType('onnxruntime'); "
        "sys.modules['onnxruntime'].disable_telemetry_events = lambda: calls.append(1); import server; "
        "assert calls == [1]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=plain_environment(Path("/nowhere")), check=True)


def test_every_file_that_imports_the_runtime_belongs_to_such_a_package() -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if "onnxruntime" in set(imported(ROOT / name)):
            assert Path(name).parts[0] in PROGRAMS, name
    for package in PROGRAMS:
        nodes = ast.walk(ast.parse((ROOT / package / "__init__.py").read_text()))
        names = [node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
        assert names == ["switch_off_telemetry"], package


def test_the_images_switch_it_off_for_whatever_runs_in_them() -> None:
    (base,) = re.findall(r"^FROM \S+ AS base\n(.*?)^FROM ", (ROOT / "docker/Dockerfile").read_text(), re.M | re.S)
    assert re.search(rf"^ENV .*\b{VARIABLE}=1\b", base, re.M)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed: system calls are not seen")
def test_no_look_up_and_no_connection_leaves_a_server_that_works(
    built_bundle: Callable[[CellKind], Bundle], tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    strace = ("strace", "-D", "-f", "-qq", "-e", "trace=%network", "-o", str(calls))
    store = built_bundle("gru").path.parent.parent
    environment = {**plain_environment(tmp_path / "home"), CACHE: os.environ[CACHE], VARIABLE: ""}
    command = (*strace, sys.executable, "-m", "server")
    with real_server(
        store, "--models", "gru", log=tmp_path / "log", environment=environment, command=command
    ) as server:
        for _ in range(3):
            answer = server.client.post("/v1/generate", json={"prompt": "a", "max_tokens": 5})
            assert answer.status_code == 200
    text = calls.read_text()
    assert "accept4(" in text, "strace saw nothing"
    outward = [
        line for line in text.splitlines() if re.search(r"(connect|sendto|sendmsg|sendmmsg)\(.*sa_family=AF_IN", line)
    ]
    assert [line for line in outward if not any(address in line for address in _LOOPBACK)] == []
    assert "SOCK_DGRAM" not in text, "a name was looked up"
    assert not (tmp_path / "home" / "cache").exists()
