"""Engines are found again only as what they were built from and for, and never half written."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models.bundle import Bundle
from models.errors import RunnerError
from models.tasks import GENERATION
from runtime.tensorrt.availability import Gpu
from runtime.tensorrt.engine_cache import EngineCache, EngineName, engine_digest
from runtime.tensorrt.engines import planned
from runtime.tensorrt.profiles import Limits, Range
from tests.runtime.tensorrt.engines import built, opened
from tests.runtime.tensorrt.fake_gpu import FakeGpu

Built = Callable[..., Bundle]
H200 = Gpu("NVIDIA H200", "sm90", "11.4.0.106")
PROFILES = ({"ids": Range((1, 1), (2, 2), (4, 4))},)
NAME = EngineName("gpu-fp16", "step", H200, engine_digest({"step.onnx": "a", "weights.bin": "b"}, PROFILES))


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> EngineCache:
    monkeypatch.setenv("RNNSERVE_CACHE", str(tmp_path))
    return EngineCache("bundle", H200)


def test_an_engine_is_found_as_what_it_was_written(cache: EngineCache, tmp_path: Path) -> None:
    assert cache.find(NAME) is None
    cache.write(NAME, b"engine", {"limits": {}})
    assert cache.find(NAME) == b"engine"
    assert cache.folder == tmp_path / "bundle" / "nvidia-h200" / "tensorrt"
    names = sorted(path.name for path in cache.folder.iterdir())
    stem = f"gpu-fp16-step-sm90-trt11.4.0.106-{NAME.digest[:16]}"
    assert names == [f"{stem}.json", f"{stem}.plan"]


@pytest.mark.parametrize(
    "other",
    [
        replace(NAME, set="gpu-fp32"),
        replace(NAME, graph="advance"),
        replace(NAME, gpu=replace(H200, architecture="sm100")),
        replace(NAME, gpu=replace(H200, tensorrt="11.5.0.1")),
        replace(NAME, digest=engine_digest({"step.onnx": "c", "weights.bin": "b"}, PROFILES)),
        replace(NAME, digest=engine_digest({"step.onnx": "a", "weights.bin": "c"}, PROFILES)),
        replace(NAME, digest=engine_digest({"step.onnx": "a", "weights.bin": "b"}, PROFILES * 2)),
    ],
)
def test_an_engine_of_anything_else_is_not_found(cache: EngineCache, other: EngineName) -> None:
    cache.write(NAME, b"engine", {})
    assert cache.find(other) is None


@pytest.mark.parametrize("damage", ["plan", "json", "missing plan", "missing json"])
def test_a_damaged_engine_is_built_again_not_loaded(cache: EngineCache, damage: str) -> None:
    cache.write(NAME, b"engine", {})
    path = cache.folder / f"{NAME.stem}.{damage.split()[-1]}"
    if damage.startswith("missing"):
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-2])
    assert cache.find(NAME) is None


def test_an_engine_takes_the_place_of_the_one_before(cache: EngineCache) -> None:
    cache.write(NAME, b"old", {})
    other = replace(NAME, graph="advance")
    cache.write(other, b"beside", {})
    newer = replace(NAME, digest="f" * 64)
    cache.log(newer).write_text("kept")
    cache.write(newer, b"new", {})
    assert cache.find(NAME) is None
    assert cache.find(newer) == b"new"
    assert cache.find(other) == b"beside"
    assert cache.log(newer).read_text() == "kept"


def test_a_kill_while_writing_leaves_the_old_engine(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write(NAME, b"old", {})

    def killed(path: Path, content: bytes) -> None:
        path.write_bytes(content[:1])
        raise KeyboardInterrupt

    monkeypatch.setattr("runtime.tensorrt.engine_cache.write_durably", killed)
    with pytest.raises(KeyboardInterrupt):
        cache.write(NAME, b"new", {})
    assert cache.find(NAME) == b"old"
    assert len(list(cache.folder.iterdir())) == 2


def test_timings_are_kept_for_the_next_build(cache: EngineCache) -> None:
    assert cache.timing_cache() == b""
    cache.write_timing_cache(b"timings")
    assert cache.timing_cache() == b"timings"


def test_a_graphs_engines_depend_on_its_file_the_weights_and_the_limits(built_bundle: Built) -> None:
    graph_set = built_bundle("gru").graph_set("fp32")

    def names(limits: Limits) -> list[str]:
        return [plan.name.stem for plan in planned(graph_set, GENERATION, {"D": 80}, limits, H200)]

    assert [name.split("-")[1] for name in names(Limits())] == ["step", "advance", "gather"]
    assert names(Limits()) == names(Limits())
    assert not set(names(Limits())) & set(names(Limits(max_batch=8)))
    before = names(Limits())
    manifest = graph_set.manifest
    for file, changed in (("step.onnx", {0}), ("weights.bin", {0, 1})):
        files = {**manifest.files, file: "0" * 64}
        graph_set.manifest = manifest.model_copy(update={"files": files})
        assert {i for i, name in enumerate(names(Limits())) if name != before[i]} == changed


def test_an_engine_that_was_never_built_is_said_with_the_command(built_bundle: Built, gpu: FakeGpu) -> None:
    bundle = built_bundle("gru")
    with pytest.raises(
        RunnerError, match=rf"No TensorRT engine of graph set fp32 .*export tensorrt {bundle.path} --set fp32"
    ):
        opened(bundle)
    built(bundle)
    assert set(opened(bundle).engines) == {"step", "advance", "gather"}
    gpu.compute = (10, 0)
    with pytest.raises(RunnerError, match="No TensorRT engine of graph set fp32 for this GPU"):
        opened(bundle)
