import os
from pathlib import Path

import pytest

from runtime import device
from runtime.device import VARIABLE, cache_folder, device_name, num_cores, plain


def test_what_belongs_to_a_machine_lies_by_bundle_and_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert cache_folder("abc", "nvidia-h200") == tmp_path / "abc" / "nvidia-h200"
    assert cache_folder("abc") == tmp_path / "abc" / device_name()
    monkeypatch.delenv(VARIABLE)
    assert cache_folder("abc", "x") == Path.home() / ".cache" / "rnnserve" / "abc" / "x"


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("NVIDIA H200", "nvidia-h200"),
        ("Intel(R) Xeon(R) CPU @ 2.1GHz", "intel-r-xeon-r-cpu-2-1ghz"),
        ("../..", "unknown"),
    ],
)
def test_a_name_from_the_hardware_is_a_plain_folder(name: str, folder: str) -> None:
    assert plain(name) == folder


def test_the_gpu_is_named_where_a_driver_is_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "information").write_text("Model: \t\t NVIDIA H200\nIRQ:   1\n")
    monkeypatch.setattr(device, "_GPUS", tmp_path)
    assert device_name() == "nvidia-h200"
    monkeypatch.setattr(device, "_GPUS", tmp_path / "none")
    monkeypatch.setattr(device, "_PROCESSORS", tmp_path / "none")
    assert device_name()


def test_cores_are_counted_where_the_system_has_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    assert num_cores() >= 1
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert num_cores() == os.cpu_count()
