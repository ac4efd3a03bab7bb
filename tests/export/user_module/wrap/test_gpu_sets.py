"""The gpu- sets of a wrapped bundle are made of its fp32 graphs, without the user's code."""

from pathlib import Path

import pytest

from export.build import build_sets, verify_set
from export.onnx.census import FORBIDDEN_IN_GPU_STEP, FORBIDDEN_ON_GPU
from export.tasks.wrapped import _check_gpu
from export.user_module.wrap.command import architecture_with_code
from models.errors import ExportError
from tests.export.onnx.rewrite.test_step_as_products import layer
from tests.export.user_module.wrap.test_wrap import MODULES, wrapped


@pytest.mark.parametrize(
    ("name", "task"), [("ResidualLM", "generation"), ("SummingReviews", "sentiment"), ("Numbers", "translation")]
)
def test_they_answer_as_fp32_does_and_steps_have_no_loops(tmp_path: Path, name: str, task: str) -> None:
    bundle = wrapped(tmp_path, name, task)[0].bundle
    for report in build_sets(bundle, ("gpu-fp32", "gpu-fp16")):
        assert report.is_passed
        assert report.figures()["golden_error"] < (1e-5 if report.set == "gpu-fp32" else 1e-2)
        manifest = bundle.graph_set(report.set).manifest
        served = [
            graph.name for graph in bundle.task.graphs if graph.kind in ("sequence", "step") and graph.is_required
        ]
        assert set(served) <= set(manifest.graphs)
        assert "decode" not in manifest.graphs
        assert not any(FORBIDDEN_ON_GPU.keys() & counts.keys() for counts in manifest.notes["operators"].values())
        assert not FORBIDDEN_IN_GPU_STEP.keys() & manifest.notes["operators"].get("step", {}).keys()
    code = architecture_with_code(bundle, f"{MODULES}:{name}")
    figures = verify_set(bundle, "gpu-fp32", architecture=code).figures()
    assert figures["worst_error"] < 1e-5


def test_int8_is_refused_with_what_it_would_need(tmp_path: Path) -> None:
    bundle = wrapped(tmp_path, "ResidualLM", "generation")[0].bundle
    with pytest.raises(ExportError, match=r"int8 cannot be built from it.* an embedding, one recurrent stack"):
        build_sets(bundle, ("int8",))


def test_a_step_with_a_loop_is_refused_by_the_operators_name() -> None:
    with pytest.raises(ExportError, match=r"Graph step holds 1 LSTM: .* no gpu- sets\. Serve it on a CPU"):
        _check_gpu({"step": layer("LSTM", time="time")})
