"""Sessions on a GPU: every name of the runtime that the backend uses exists, and each refusal says what to do."""

import ast
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import runtime.onnxruntime_cuda.build as build
from models.bundle import Bundle
from models.errors import RunnerError
from runtime.onnxruntime_cuda.build import (
    Device,
    check_nodes_on_cpu,
    nodes_on_cpu,
    open_graph_set,
    open_session,
    why_unavailable,
)
from runtime.onnxruntime_cuda.gather_model import gather_model

Built = Callable[..., Bundle]
FOLDER = Path(build.__file__).parent
HAS_CUDA = build.PROVIDER in ort.get_available_providers()
# objects of the runtime by the names that the backend gives them
OBJECTS = {
    "ort": [ort],
    "options": [ort.SessionOptions, ort.RunOptions],
    "session": [ort.InferenceSession],
    "_session": [ort.InferenceSession],
    "binding": [ort.IOBinding],
    "OrtValue": [ort.OrtValue],
}


def test_the_runtime_has_every_name_that_is_used() -> None:
    used = set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                owner = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
                if owner in OBJECTS:
                    used.add((owner, node.attr))
    assert {("ort", "OrtValue"), ("OrtValue", "ortvalue_from_numpy"), ("binding", "bind_input")} <= used
    assert {("_session", "run_with_iobinding"), ("session", "disable_fallback")} <= used
    own = {("binding", "binding"), ("binding", "options"), ("binding", "outputs")}
    missing = {(owner, name) for owner, name in used - own if not any(hasattr(thing, name) for thing in OBJECTS[owner])}
    assert missing == set()
    assert all(hasattr(ort.OrtValue, name) for name in ("update_inplace", "data_ptr", "numpy"))


def test_the_runtime_knows_the_options_that_are_set() -> None:
    library = Path(ort.capi.__file__).parent
    text = b"".join(path.read_bytes() for path in library.glob("onnxruntime_pybind11_state*"))
    for name in (
        "session.disable_cpu_ep_fallback",
        "session.record_ep_graph_assignment_info",
        "session.intra_op.allow_spinning",
        "gpu_graph_id",
        "fallback to CPU EP has been explicitly disabled",
    ):
        assert name.encode() in text, name


def test_the_runtime_refuses_nodes_on_the_cpu_where_it_is_told_to(built_bundle: Built) -> None:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    path = str(built_bundle("gru").graph_set("fp32").graph("step"))
    providers = [name for name in ort.get_available_providers() if name != "CPUExecutionProvider"][-1:]
    if not providers:
        pytest.skip("this build of the runtime has no provider but the CPU's")
    with pytest.raises(Exception, match="fallback to CPU EP has been explicitly disabled"):
        ort.InferenceSession(path, options, providers=providers, enable_fallback=0)


def test_the_model_that_picks_rows_is_well_formed_and_picks_rows() -> None:
    model = onnx.ModelProto.FromString(gather_model())
    assert model.SerializeToString(deterministic=True) == gather_model()  # no field is unknown
    assert [node.op_type for node in model.graph.node] == ["Concat", "Gather"]
    present = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    joining = -present[:2]
    index = np.array([4, 0, 2, 2])
    (rows,) = open_session(gather_model(), Device("cpu")).run(
        None, {"present": present, "joining": joining, "index": index}
    )
    assert np.array_equal(rows, np.concatenate([present, joining])[index])


@pytest.mark.skipif(HAS_CUDA, reason="this machine has the provider")
def test_a_missing_provider_is_one_sentence_that_says_what_to_install(built_bundle: Built) -> None:
    reason = why_unavailable(Device())
    assert reason is not None
    assert "has no CUDAExecutionProvider here; it has" in reason
    assert "onnxruntime-gpu" in reason
    with pytest.raises(RunnerError, match="has no CUDAExecutionProvider"):
        open_graph_set(built_bundle("gru").graph_set("fp32"), device=Device())
    assert why_unavailable(Device("cpu")) is None


def test_a_session_that_took_the_cpu_instead_is_refused() -> None:
    with pytest.raises(RunnerError, match="cannot start CUDAExecutionProvider here and took CPUExecutionProvider"):
        build.check_providers(Device(), ["CPUExecutionProvider"])
    build.check_providers(Device(), ["CUDAExecutionProvider", "CPUExecutionProvider"])
    build.check_providers(Device("cpu"), ["CPUExecutionProvider"])


def test_int8_is_refused_by_name(built_bundle: Built) -> None:
    with pytest.raises(RunnerError, match="int8 is for the CPU alone"):
        open_graph_set(built_bundle("gru").graph_set("int8"), device=Device())


def test_a_node_on_the_cpu_is_an_error_by_name_unless_it_is_arithmetic_on_shapes(built_bundle: Built) -> None:
    step = built_bundle("lstm").graph_set("fp32").graph("step")
    nodes = nodes_on_cpu(open_session(step, Device("cpu")))
    assert "LSTM" in {operator for operator, _ in nodes}
    with pytest.raises(RunnerError, match=r"\(LSTM\).*backend onnxruntime-cpu"):
        check_nodes_on_cpu("step", nodes)
    check_nodes_on_cpu("step", [("Shape", "a"), ("Concat", "b")])


def test_a_file_that_is_no_graph_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(RunnerError, match=r"cannot open .*broken\.onnx on cpu"):
        open_session(path, Device("cpu"))
    with pytest.raises(RunnerError, match="Graph step is not open"):
        build.CudaGraphs("fp32", Device("cpu"), {}, None).session("step")
