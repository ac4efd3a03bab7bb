"""The command from a bundle to engines, on a GPU that records; and on this machine, which has none."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from rich.console import Console

from export.build import build_sets
from export.tensorrt.command import build_for_tensorrt
from export.tensorrt.progress_bar import progress_bar
from models.bundle import Bundle
from models.errors import BackendMissingError, BundleNotFoundError, ExportError, UnsupportedModelError
from runtime.device import VARIABLE
from runtime.tensorrt.availability import why_unavailable
from tests.runtime.tensorrt.fake_gpu import FakeGpu
from tests.runtime.tensorrt.fake_tensorrt import fake_gpu
from tests.tiny_models import tiny_bundle

SMALL = 4  # rows


@pytest.fixture(scope="module")
def gpu_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A language model with its sets for a GPU. Read only."""
    bundle = tiny_bundle(tmp_path_factory.mktemp("store"), "gru")
    build_sets(bundle, ("gpu-fp32", "gpu-fp16"))
    return bundle


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    with fake_gpu() as machine:
        yield machine


def test_engines_of_both_sets_are_built_once(gpu_bundle: Bundle, gpu: FakeGpu) -> None:
    said: list[str] = []
    reported: list[tuple[str, int, int]] = []
    paths = build_for_tensorrt(
        gpu_bundle, None, SMALL, say=said.append, on_progress=lambda *step: reported.append(step)
    )
    assert [path.name.split("-sm90-")[0] for path in paths] == [
        f"{name}-{graph}" for name in ("gpu-fp16", "gpu-fp32") for graph in ("step", "advance", "gather")
    ]
    assert all(path.is_file() for path in paths)
    assert said[4] == "NVIDIA H200 (sm90), TensorRT 11.4.0.106"
    assert reported[:3] == [("Building Engine", 0, 2), ("Building Engine", 1, 2), ("Building Engine", 2, 2)]
    gpu.clear()
    assert build_for_tensorrt(gpu_bundle, None, SMALL, say=said.append) == paths
    assert gpu.names("build_serialized_network") == []
    assert said[-1].endswith("there already")
    gpu.compute = (10, 0)
    assert build_for_tensorrt(gpu_bundle, ("gpu-fp16",), SMALL) != paths[:3]
    assert gpu.names("build_serialized_network") == ["build_serialized_network"] * 3


def test_a_graph_that_tensorrt_does_not_read_is_refused_before_anything_is_built(
    gpu_bundle: Bundle, gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_seed(path: str) -> onnx.ModelProto:
        model = onnx.load(path)
        model.graph.node.append(onnx.helper.make_node("Multinomial", ["x"], ["drawn"], name="draw"))
        return model

    monkeypatch.setattr("export.tensorrt.command.onnx", type("Onnx", (), {"load": staticmethod(with_seed)}))
    with pytest.raises(UnsupportedModelError, match=r"graph step of set gpu-fp16. Node draw"):
        build_for_tensorrt(gpu_bundle)
    assert gpu.names("Builder") == []


def test_sets_that_are_not_for_tensorrt_and_sets_that_are_not_there_are_named(
    gpu_bundle: Bundle, gpu: FakeGpu, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=r"'int8' is not for TensorRT. Sets that are: gpu-fp16, gpu-fp32"):
        build_for_tensorrt(gpu_bundle, ("int8",))
    bare = tiny_bundle(tmp_path, "gru")
    with pytest.raises(BundleNotFoundError, match=r"no graph set for TensorRT. Build one: .* --set gpu-fp16"):
        build_for_tensorrt(bare)
    gpu.num_devices = 0
    with pytest.raises(BackendMissingError, match="CUDA finds none here: cudaErrorNoDevice"):
        build_for_tensorrt(bare)


@pytest.mark.skipif(why_unavailable() is None, reason="this machine has TensorRT and a GPU")
def test_without_tensorrt_the_command_says_so_in_one_sentence_and_exits_with_3(
    gpu_bundle: Bundle, tmp_path: Path
) -> None:
    bare = tiny_bundle(tmp_path, "gru")
    with pytest.raises(BackendMissingError, match="TensorRT is not installed here"):
        build_for_tensorrt(bare)
    command = [sys.executable, "-m", "export", "tensorrt", str(gpu_bundle.path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 3, done.stderr
    assert "error: TensorRT is not installed here" in done.stderr
    assert done.stdout == ""


def test_progress_is_shown_and_taken_away(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(force_terminal=True, width=80)
    with progress_bar(console) as on_progress:
        on_progress("Timing", 0, 3)
        on_progress("Timing", 3, 3)
    assert "Timing" in capsys.readouterr().out
