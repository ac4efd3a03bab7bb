"""Runners over TensorRT on a GPU that records and computes: answers are the CPU's, calls are what they must be."""

from collections.abc import Callable

import numpy as np
import pytest

from models.bundle import Bundle
from models.errors import RunnerError
from runtime.onnxruntime.attention_run import OnnxAttentionStepRunner
from runtime.onnxruntime.build import open_graph_set
from runtime.onnxruntime.run import OnnxSequenceRunner, OnnxStepRunner
from runtime.padding import padded
from tests.runtime.tensorrt.engines import LIMITS, built, opened
from tests.runtime.tensorrt.fake_gpu import FakeGpu

Built = Callable[..., Bundle]
CAPACITY = 2 * LIMITS.max_batch
WORK = ("cudaMemcpyAsync", "execute_async_v3", "cudaGraphLaunch", "cudaStreamSynchronize")
CAPTURE = ("cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaGraphDestroy")


@pytest.mark.parametrize("is_capturable", [True, False])
def test_rows_that_join_leave_and_change_places_answer_as_on_the_cpu(
    built_bundle: Built, gpu: FakeGpu, is_capturable: bool
) -> None:
    gpu.is_capturable = is_capturable
    bundle = built_bundle("lstm")
    built(bundle)
    steps = opened(bundle).steps(CAPACITY)
    cpu = OnnxStepRunner(open_graph_set(bundle.graph_set("fp32")), CAPACITY, bundle.record.state_width)
    rng = np.random.default_rng(0)
    live = 0
    for _ in range(60):
        joining = int(rng.integers(0 if live else 1, 4))
        for place in range(joining):
            row = rng.uniform(-1, 1, bundle.record.state_width).astype(np.float32)
            for runner in (steps, cpu):
                runner.put(live + place, row)
        parents = rng.integers(0, live + joining, size=int(rng.integers(1, 13)))
        if rng.random() < 0.5:
            parents = np.arange(live + joining)[:12]
        tokens = rng.integers(0, bundle.config.vocab_size, size=len(parents))
        assert np.array_equal(steps.step(tokens, parents), cpu.step(tokens, parents))
        live = len(parents)
        slot = int(rng.integers(live))
        assert np.array_equal(steps.get(slot), cpu.get(slot))
    assert ("cudaGraphLaunch" in gpu.names()) == is_capturable


def test_a_bucket_runs_once_is_captured_and_is_replayed(built_bundle: Built, gpu: FakeGpu) -> None:
    bundle = built_bundle("gru")
    built(bundle)
    steps = opened(bundle).steps(CAPACITY)
    steps.put(0, np.zeros(bundle.record.state_width, np.float32))
    gpu.clear()
    work = [*["cudaMemcpyAsync"] * 2, *["execute_async_v3"] * 2, "cudaMemcpyAsync"]
    steps.step(np.array([1, 2, 3]), np.zeros(3, np.int64))
    assert gpu.names("create_execution_context") == ["create_execution_context"] * 2  # the gather's and the step's
    profiles = [call[1] for call in gpu.calls if call[0] == "set_optimization_profile_async"]
    assert profiles == [2, 2]  # batches 1, 2, 4
    assert gpu.names(*WORK, *CAPTURE) == [
        *work,
        "cudaStreamSynchronize",
        "cudaStreamBeginCapture",
        *work,
        *CAPTURE[1:],
    ]
    gpu.clear()
    steps.step(np.array([1, 2, 3, 4]), np.zeros(4, np.int64))
    assert gpu.names() == ["cudaGraphLaunch", "cudaStreamSynchronize"]
    gpu.clear()
    steps.step(np.array([1]), np.zeros(1, np.int64))
    assert "cudaStreamBeginCapture" in gpu.names()  # another bucket has a graph of its own
    gpu.clear()
    steps.step(np.array([1, 2, 3, 4]), np.zeros(4, np.int64))
    assert gpu.names() == ["cudaGraphLaunch", "cudaStreamSynchronize"]


def test_what_cannot_be_captured_runs_as_it_is_and_is_not_tried_again(built_bundle: Built, gpu: FakeGpu) -> None:
    gpu.is_capturable = False
    bundle = built_bundle("gru")
    built(bundle)
    steps = opened(bundle).steps(CAPACITY)
    steps.put(0, np.zeros(bundle.record.state_width, np.float32))
    for _ in range(3):
        steps.step(np.array([1]), np.zeros(1, np.int64))
    assert gpu.names("cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGetLastError", "cudaGraphLaunch") == [
        "cudaStreamBeginCapture",
        "cudaStreamEndCapture",
        "cudaGetLastError",
    ]


def test_a_refused_step_leaves_the_states_as_they_were(built_bundle: Built, gpu: FakeGpu) -> None:
    bundle = built_bundle("gru")
    built(bundle)
    steps = opened(bundle).steps(CAPACITY)
    row = np.full(bundle.record.state_width, 0.5, np.float32)
    steps.put(0, row)
    steps.put(1, -row)
    gpu.refuses = {"enqueue"}
    with pytest.raises(RunnerError, match="failed"):
        steps.step(np.array([1, 2]), np.array([1, 0]))
    gpu.refuses = set()
    assert np.array_equal(steps.get(0), row)
    assert np.array_equal(steps.get(1), -row)
    with pytest.raises(RunnerError, match="takes no memory"):
        steps.put(0, row, {})
    with pytest.raises(RunnerError, match=r"built for batches up to 12, and 13 rows.*--max-batch 13"):
        steps.step(np.zeros(13, np.int64), np.zeros(13, np.int64))


@pytest.mark.parametrize("is_capturable", [True, False])
def test_translator_rows_keep_their_sources_as_on_the_cpu(
    built_bundle: Built, gpu: FakeGpu, is_capturable: bool
) -> None:
    gpu.is_capturable = is_capturable
    bundle = built_bundle("lstm", "translation")
    built(bundle)
    graphs = opened(bundle)
    sequences, steps = graphs.sequences(), graphs.attention_steps(CAPACITY)
    cpu_graphs = open_graph_set(bundle.graph_set("fp32"))
    cpu = OnnxAttentionStepRunner(cpu_graphs, CAPACITY, bundle.record.state_width)
    rng = np.random.default_rng(0)
    rows = []
    for length in (1, 3, 15, 16, 17, 40, 2, 33, 64):
        ids, lengths = padded([rng.integers(bundle.config.vocab_size, size=length).tolist()])
        encoded = sequences.run("encode", {"ids": ids, "lengths": lengths})
        expected = OnnxSequenceRunner(cpu_graphs).run("encode", {"ids": ids, "lengths": lengths})
        assert all(np.array_equal(encoded[name], expected[name]) for name in expected)
        rows.append((encoded["state"][0], {name: encoded[name][0, :length] for name in ("memory", "keys")}))
    live = 0
    for _ in range(60):
        joining = int(rng.integers(0 if live else 1, 3))
        for place in range(joining):
            row = rows[rng.integers(len(rows))]
            for runner in (steps, cpu):
                runner.put(live + place, *row)
        parents = rng.integers(0, live + joining, size=int(rng.integers(1, 9)))
        if rng.random() < 0.4:
            parents = np.arange(live + joining)[:8]
        tokens = rng.integers(0, bundle.config.vocab_size, size=len(parents))
        # sources are padded to other lengths here, so sums over positions may differ in their last bits
        assert np.allclose(steps.step(tokens, parents), cpu.step(tokens, parents), atol=1e-4)
        both = min(steps.attention.shape[1], cpu.attention.shape[1])
        assert np.allclose(steps.attention[:, :both], cpu.attention[:, :both], atol=1e-5)
        assert not steps.attention[:, both:].any()
        live = len(parents)
        assert np.allclose(steps.get(0), cpu.get(0), atol=1e-4)
    assert ("cudaGraphLaunch" in gpu.names()) == is_capturable


def test_another_padded_length_is_captured_anew_and_a_beam_moves_no_memory(built_bundle: Built, gpu: FakeGpu) -> None:
    bundle = built_bundle("lstm", "translation")
    built(bundle)
    steps = opened(bundle).attention_steps(CAPACITY)
    width = bundle.record.state_width
    memories = [
        {name: np.ones((length, size), np.float32) for name, size in (("memory", 40), ("keys", 40))}
        for length in (10, 30)
    ]
    widths = (bundle.record.memory_width, bundle.record.keys_width)
    for memory in memories:
        for name, size in zip(("memory", "keys"), widths, strict=True):
            assert size is not None
            memory[name] = np.ones((len(memory[name]), size), np.float32)
    steps.put(0, np.zeros(width, np.float32), memories[0])
    steps.step(np.zeros(4, np.int64), np.zeros(4, np.int64))
    gpu.clear()
    steps.step(np.zeros(4, np.int64), np.array([3, 1, 0, 0]))
    assert gpu.names() == ["cudaGraphLaunch", "cudaStreamSynchronize"]
    steps.put(4, np.zeros(width, np.float32), memories[1])
    gpu.clear()
    steps.step(np.zeros(4, np.int64), np.array([4, 1, 0, 0]))
    assert {"cudaGraphExecDestroy", "cudaStreamBeginCapture", "cudaGraphInstantiate"} <= set(gpu.names())
    with pytest.raises(RunnerError, match=r"source of 65 positions.*built for 64"):
        steps.put(0, np.zeros(width, np.float32), {name: np.ones((65, 8), np.float32) for name in ("memory", "keys")})


def test_a_call_of_more_rows_than_the_profile_is_cut(built_bundle: Built, gpu: FakeGpu) -> None:
    bundle = built_bundle("gru", "sentiment")
    built(bundle)
    sequences = opened(bundle).sequences()
    rng = np.random.default_rng(0)
    ids, lengths = padded([rng.integers(bundle.config.vocab_size, size=n).tolist() for n in range(1, 31)])
    gpu.clear()
    found = sequences.run("classify", {"ids": ids, "lengths": lengths})
    assert gpu.names("execute_async_v3") == ["execute_async_v3"] * 3  # 30 rows by 12
    expected = OnnxSequenceRunner(open_graph_set(bundle.graph_set("fp32"))).run(
        "classify", {"ids": ids, "lengths": lengths}
    )
    assert np.allclose(found["logits"], expected["logits"], atol=1e-6)
    long = np.zeros((1, 80), np.int64)
    with pytest.raises(RunnerError, match=r"was not built for .*\(1, 80\).*--max-length"):
        sequences.run("classify", {"ids": long, "lengths": np.array([80], np.int32)})
    with pytest.raises(RunnerError, match="Graph classify lacks lengths"):
        sequences.run("classify", {"ids": ids})
    with pytest.raises(RunnerError, match="Graph encode is not open"):
        sequences.run("encode", {"ids": ids})


def test_an_engine_that_is_refused_is_named_with_tensorrts_message(built_bundle: Built, gpu: FakeGpu) -> None:
    bundle = built_bundle("gru")
    built(bundle)
    gpu.refuses = {"plan"}
    with pytest.raises(RunnerError, match="refuses the engine fp32 step: the plan is of another version"):
        opened(bundle)
    gpu.refuses = {"context"}
    steps = opened(bundle).steps(CAPACITY)
    with pytest.raises(RunnerError, match="has no context for profile 0"):
        steps.step(np.zeros(1, np.int64), np.zeros(1, np.int64))
    with pytest.raises(RunnerError, match=r"built for 24 slots.*26 are wanted.*--max-batch 13"):
        opened(bundle).steps(26)
