"""The GPU's runners on the CPU, through the same code: every row answers as the CPU's runners do."""

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import pytest

from models.bundle import Bundle
from models.errors import RunnerError
from runtime.onnxruntime.attention_run import OnnxAttentionStepRunner
from runtime.onnxruntime.build import open_graph_set as open_on_cpu
from runtime.onnxruntime.run import OnnxSequenceRunner, OnnxStepRunner
from runtime.onnxruntime_cuda import step_graph
from runtime.onnxruntime_cuda.attention_run import CudaAttentionStepRunner
from runtime.onnxruntime_cuda.build import Device, open_graph_set
from runtime.onnxruntime_cuda.run import CudaStepRunner
from runtime.padding import padded

Built = Callable[..., Bundle]
CAPACITY = 24
CPU = Device("cpu")


def runners(bundle: Bundle, set_name: str) -> tuple[CudaStepRunner, OnnxStepRunner]:
    graph_set, width = bundle.graph_set(set_name), bundle.record.state_width
    return (
        CudaStepRunner(open_graph_set(graph_set, device=CPU, graphs=("step",)), CAPACITY, width),
        OnnxStepRunner(open_on_cpu(graph_set), CAPACITY, width),
    )


@pytest.mark.parametrize(("kind", "set_name"), [("lstm", "fp32"), ("gru", "int8")])
def test_rows_that_join_leave_and_change_places_answer_as_on_the_cpus_runner(
    built_bundle: Built, kind: str, set_name: str
) -> None:
    bundle = built_bundle(kind)
    gpu, cpu = runners(bundle, set_name)
    rng = np.random.default_rng(0)
    live = 0
    for _ in range(50):
        joining = int(rng.integers(0 if live else 1, 4))
        for place in range(joining):
            row = rng.uniform(-1, 1, bundle.record.state_width).astype(np.float32)
            for runner in (gpu, cpu):
                runner.put(live + place, row)
            assert np.array_equal(gpu.get(live + place), row)
        if rng.random() < 0.5:
            parents = np.arange(live + joining)
        else:
            parents = rng.integers(0, live + joining, size=int(rng.integers(1, 13)))
        parents = parents[:12]
        tokens = rng.integers(0, bundle.config.vocab_size, size=len(parents))
        assert np.array_equal(gpu.step(tokens, parents), cpu.step(tokens, parents))
        live = len(parents)
        slot = int(rng.integers(live))
        assert np.array_equal(gpu.get(slot), cpu.get(slot))


def test_a_failing_step_leaves_the_states_as_they_were(built_bundle: Built) -> None:
    gpu, cpu = runners(built_bundle("gru"), "fp32")
    row = np.full(len(gpu.get(0)), 0.5, np.float32)
    for slot, value in enumerate((row, -row)):
        gpu.put(slot, value)
        cpu.put(slot, value)
    parents = np.array([1, 0])
    with pytest.raises(RunnerError, match="step failed on cpu"):
        gpu.step(np.array([10_000, 0]), parents)  # no such token
    assert np.array_equal(gpu.get(0), row)
    assert np.array_equal(gpu.step(np.array([1, 2]), parents), cpu.step(np.array([1, 2]), parents))
    with pytest.raises(RunnerError, match="takes no memory"):
        gpu.put(0, row, {})


def test_translator_rows_keep_their_sources_as_on_the_cpus_runner(built_bundle: Built) -> None:
    bundle = built_bundle("lstm", "translation")
    graph_set, width = bundle.graph_set("fp32"), bundle.record.state_width
    cpu_graphs, graphs = open_on_cpu(graph_set), open_graph_set(graph_set, device=CPU)
    gpu = CudaAttentionStepRunner(graphs, CAPACITY, width)
    cpu = OnnxAttentionStepRunner(cpu_graphs, CAPACITY, width)
    rng = np.random.default_rng(0)
    rows = []
    for length in (1, 3, 15, 16, 17, 40, 2, 33):
        ids, lengths = padded([rng.integers(bundle.config.vocab_size, size=length).tolist()])
        encoded = OnnxSequenceRunner(graphs).run("encode", {"ids": ids, "lengths": lengths})
        expected = OnnxSequenceRunner(cpu_graphs).run("encode", {"ids": ids, "lengths": lengths})
        assert all(np.array_equal(encoded[name], expected[name]) for name in expected)
        rows.append((encoded["state"][0], {name: encoded[name][0, :length] for name in ("memory", "keys")}))
    live = 0
    for _ in range(60):
        joining = int(rng.integers(0 if live else 1, 3))
        for place in range(joining):
            row = rows[rng.integers(len(rows))]
            for runner in (gpu, cpu):
                runner.put(live + place, *row)
        parents = rng.integers(0, live + joining, size=int(rng.integers(1, 9)))
        if rng.random() < 0.4:
            parents = np.arange(live + joining)[:8]
        tokens = rng.integers(0, bundle.config.vocab_size, size=len(parents))
        found, expected_logits = gpu.step(tokens, parents), cpu.step(tokens, parents)
        # sources are padded to other lengths here, so sums over positions may differ in their last bits
        assert np.allclose(found, expected_logits, atol=1e-4)
        both = min(gpu.attention.shape[1], cpu.attention.shape[1])
        assert np.allclose(gpu.attention[:, :both], cpu.attention[:, :both], atol=1e-5)
        assert not gpu.attention[:, both:].any()
        live = len(parents)
        assert np.allclose(gpu.get(0), cpu.get(0), atol=1e-4)


def test_a_row_without_its_source_and_a_slot_without_a_row_are_refused(built_bundle: Built) -> None:
    bundle = built_bundle("lstm", "translation")
    graphs = open_graph_set(bundle.graph_set("fp32"), device=CPU)
    runner = CudaAttentionStepRunner(graphs, CAPACITY, bundle.record.state_width)
    with pytest.raises(RunnerError, match="asks a memory"):
        runner.put(0, np.zeros(bundle.record.state_width, np.float32))
    with pytest.raises(RunnerError, match="holds no row"):
        runner.step(np.zeros(1, np.int64), np.zeros(1, np.int64))


def test_each_shape_has_a_cuda_graph_of_its_own_and_shapes_beyond_the_limit_none(
    built_bundle: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_graph, "MAX_CAPTURED", 2)
    graphs = open_graph_set(built_bundle("gru").graph_set("fp32"), device=CPU, graphs=("step",))
    graphs.device = Device("cuda")  # of which only the options are looked at
    options = [step_graph.StepGraph(graphs)._options(number) for number in range(3)]
    assert [option.get_run_config_entry("gpu_graph_id") for option in options] == ["1", "2", "-1"]


def test_a_step_reads_and_writes_at_addresses_that_it_has_seen_before(built_bundle: Built) -> None:
    gpu, _ = runners(built_bundle("gru"), "fp32")
    gpu.put(0, gpu.get(0))
    for _ in range(20):
        gpu.step(np.zeros(4, np.int64), np.zeros(4, np.int64))
        gpu.step(np.zeros(4, np.int64), np.arange(4))
    places = {key[1] for key in gpu._graph._bindings}
    assert len(places) <= 6  # three buffers: source and target, in each order


@pytest.mark.gpu
@pytest.mark.parametrize("task", ["generation", "translation"])
def test_the_gpu_answers_as_the_cpu(built_bundle: Built, task: str) -> None:
    assert "CUDAExecutionProvider" in ort.get_available_providers()
    bundle = built_bundle("lstm", task)
    width = bundle.record.state_width
    graph_set = bundle.graph_set("fp32")
    graphs = open_graph_set(graph_set, device=Device())
    on_cpu = open_graph_set(graph_set, device=CPU)
    rng = np.random.default_rng(0)
    make = CudaStepRunner if task == "generation" else CudaAttentionStepRunner
    gpu, cpu = make(graphs, CAPACITY, width), make(on_cpu, CAPACITY, width)
    memory = None
    if task == "translation":
        ids, lengths = padded([[3, 4, 5]])
        encoded = OnnxSequenceRunner(on_cpu).run("encode", {"ids": ids, "lengths": lengths})
        memory = {name: encoded[name][0, :3] for name in ("memory", "keys")}
    for runner in (gpu, cpu):
        runner.put(0, np.zeros(width, np.float32), memory)
        runner.step(np.zeros(4, np.int64), np.zeros(4, np.int64))
    for _ in range(20):
        tokens, parents = rng.integers(0, 9, size=4), rng.integers(0, 4, size=4)
        assert np.allclose(gpu.step(tokens, parents), cpu.step(tokens, parents), atol=1e-4)
