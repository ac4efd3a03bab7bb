"""Which backend and set a model is loaded with: here, and on a machine with a GPU that computes on the CPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from export.build import build_sets
from export.tensorrt.command import build_for_tensorrt
from models.bundle import Bundle
from models.errors import BackendMissingError, ConfigError, RnnserveError
from runtime.choice import whole_set, write_choices
from runtime.device import VARIABLE
from runtime.opening import CPU, CUDA, TENSORRT, why_unavailable
from server.loading import load_models
from server.settings import Settings
from server.tasks import BY_NAME
from tests.runtime.tensorrt.fake_gpu import FakeGpu
from tests.runtime.tensorrt.fake_tensorrt import fake_gpu
from tests.server.running import running
from tests.tiny_models import tiny_bundle, tiny_classifier_bundle, tiny_translator_bundle

ROWS = 4
pytestmark = pytest.mark.usefixtures("unmeasured")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model of each task, with every set. Read only."""
    folder = tmp_path_factory.mktemp("store")
    for bundle in (
        tiny_bundle(folder, "gru", "writer"),
        tiny_translator_bundle(folder, "gru", "translator"),
        tiny_classifier_bundle(folder, "gru", "judge"),
    ):
        build_sets(bundle, ("fp32", "int8", "gpu-fp32"))
    return folder


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def gpu(store: Path) -> Iterator[FakeGpu]:
    """A machine with TensorRT and a GPU, and engines of every model."""
    with fake_gpu() as machine:
        for name in ("writer", "translator", "judge"):
            build_for_tensorrt(Bundle(store / name / "1"), max_batch=ROWS, max_length=64)
        yield machine


def loaded(store: Path, *models: str, **settings: Any) -> list[tuple[str, str]]:
    limits: dict[str, Any] = {"max_rows": ROWS, "max_source_tokens": 64, "max_sentiment_tokens": 64}
    found = load_models(Settings(**{"store": store, "models": models or ("writer",), **limits, **settings}), BY_NAME)
    return [(model.backend, model.precision) for model in found]


def missing(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(why_unavailable(name) is None, reason=f"{name} is here")


@missing(TENSORRT)
@missing(CUDA)
@pytest.mark.parametrize("backend", ["auto", "tensorrt", CPU])
def test_without_a_gpu_the_server_computes_on_the_cpu_and_says_so_once(
    store: Path, backend: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert loaded(store, "writer", "judge", backend=backend) == [(CPU, "int8")] * 2
    said = capsys.readouterr().out
    assert said.count("backend not here") == (backend == "tensorrt")
    assert said.count("TensorRT is not installed here") == (backend == "tensorrt")
    assert loaded(store, backend=backend, set="fp32" if backend != "tensorrt" else None)[0][0] == CPU


@missing(TENSORRT)
@missing(CUDA)
def test_a_gpu_that_is_left_alone_is_said_once(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "information").write_text("Model: NVIDIA H200\n")
    monkeypatch.setattr("runtime.device._GPUS", tmp_path)
    assert {backend for backend, _ in loaded(store, "writer", "judge")} == {CPU}
    said = capsys.readouterr().out
    assert said.count("GPU not used") == said.count("TensorRT is not installed here") == 1


@missing(CUDA)
def test_onnxruntime_on_a_gpu_that_is_not_here_is_an_error(store: Path) -> None:
    with pytest.raises(BackendMissingError, match="has no CUDAExecutionProvider here"):
        loaded(store, backend=CUDA)


@missing(TENSORRT)
@missing(CUDA)
@pytest.mark.parametrize("backend", ["auto", "tensorrt"])
def test_a_set_for_gpus_is_not_replaced_where_there_is_none(store: Path, backend: str) -> None:
    with pytest.raises(RnnserveError, match=r"\(--set\) is gpu-fp32, which is for GPUs; this server computes on onnx"):
        loaded(store, backend=backend, set="gpu-fp32")


@pytest.mark.parametrize(("backend", "graph_set"), [(CPU, "gpu-fp16"), ("tensorrt", "int8"), (CUDA, "fp32")])
def test_a_set_that_the_backend_does_not_run_is_refused(store: Path, backend: str, graph_set: str) -> None:
    with pytest.raises(ConfigError, match=rf"--set\) is {graph_set}, and .*--backend\) is {backend}, which runs"):
        loaded(store, backend=backend, set=graph_set)


COMPARED = {CPU: ["int8", "fp32"], TENSORRT: ["gpu-fp32"], CUDA: ["gpu-fp32"]}


def test_what_was_measured_on_this_machine_is_taken_unless_a_set_is_asked_for(store: Path) -> None:
    bundle = Bundle(store / "writer" / "1")
    write_choices(bundle, [whole_set(CPU, "fp32", bundle.task)], COMPARED, [], {})
    assert loaded(store) == [(CPU, "fp32")]
    assert loaded(store, "judge") == [(CPU, "int8")]  # which was not measured
    assert loaded(store, backend=CPU) == [(CPU, "fp32")]
    assert loaded(store, set="int8") == [(CPU, "int8")]
    write_choices(bundle, [whole_set(CUDA, "gpu-fp16", bundle.task)], {CUDA: ["gpu-fp16"]}, [], {})
    assert loaded(store) == [(CPU, "int8")]  # a set that the bundle has no more


def test_backends_that_were_compared_come_as_they_were_measured_and_else_as_wanted(store: Path, gpu: FakeGpu) -> None:
    bundle = Bundle(store / "writer" / "1")
    cpu, tensorrt = whole_set(CPU, "fp32", bundle.task), whole_set(TENSORRT, "gpu-fp32", bundle.task)
    write_choices(bundle, [cpu, tensorrt], COMPARED, [], {})
    assert loaded(store) == [(CPU, "fp32")]
    assert loaded(store, backend="tensorrt") == [(TENSORRT, "gpu-fp32")]
    write_choices(bundle, [cpu], COMPARED, [], {})  # measured by a server without the GPU's libraries
    assert loaded(store) == [(TENSORRT, "gpu-fp32")]


def test_on_a_gpu_auto_takes_tensorrt_and_answers_over_http_as_the_cpu(store: Path, gpu: FakeGpu) -> None:
    names = ("writer", "translator", "judge")
    limits: dict[str, Any] = {"max_rows": ROWS, "max_source_tokens": 64, "max_sentiment_tokens": 64}
    answers = []
    for settings in ({"backend": "auto"}, {"set": "fp32"}):
        models = load_models(Settings(**{"store": store, "models": names, **limits, **settings}), BY_NAME)
        with running(*models, max_rows=ROWS) as server:
            cards = {card["id"]: card for card in server.client.get("/v1/models").json()["data"]}
            answers.append(
                (
                    server.generate(prompt="to be or not", temperature=0, max_tokens=20)["choices"][0]["text"],
                    server.translate(text="to be or not", beam_size=1, max_tokens=10)["translations"][0]["text"],
                    server.classify(text="to be or not")["results"][0]["label"],
                )
            )
        expected = (TENSORRT, "gpu-fp32") if "backend" in settings else (CPU, "fp32")
        assert {(card["backend"], card["precision"]) for card in cards.values()} == {expected}
    assert answers[0] == answers[1]
    assert "cudaGraphLaunch" in gpu.names()


def test_a_model_without_engines_is_loaded_on_what_is_next_with_the_command_in_the_log(
    store: Path, gpu: FakeGpu, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gpu.compute = (10, 0)  # another GPU than the engines were built for
    assert loaded(store, backend="tensorrt") == [(CPU, "int8")]
    said = capsys.readouterr().out
    assert "python -m export tensorrt" in said
    with pytest.raises(RnnserveError, match="No TensorRT engine of graph set gpu-fp32"):
        loaded(store, backend="tensorrt", set="gpu-fp32")


def test_engines_for_less_than_the_server_admits_are_refused(store: Path, gpu: FakeGpu) -> None:
    for name, settings, words in (
        ("writer", {"max_rows": 5}, r"--max-batch 5"),
        (
            "translator",
            {"max_source_tokens": 65},
            r"RNNSERVE_MAX_SOURCE_TOKENS is 65, .* built for 64.*--max-length 65",
        ),
        ("judge", {"max_sentiment_tokens": 100}, r"RNNSERVE_MAX_SENTIMENT_TOKENS is 100"),
    ):
        with pytest.raises(RnnserveError, match=words):
            loaded(store, name, set="gpu-fp32", **settings)
