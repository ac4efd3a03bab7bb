import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle
from models.cells import CellKind
from models.errors import BundleCorruptError, RunnerError
from runtime.onnxruntime.build import open_graph_set, open_session
from runtime.onnxruntime.run import OnnxSequenceRunner, OnnxStepRunner

Built = Callable[[CellKind], Bundle]


def step_runner(bundle: Bundle, capacity: int = 8) -> tuple[OnnxStepRunner, OnnxSequenceRunner]:
    graphs = open_graph_set(bundle.graph_set("int8"))
    return OnnxStepRunner(graphs, capacity, bundle.record.state_width), OnnxSequenceRunner(graphs)


def expected_step(
    sequences: OnnxSequenceRunner, tokens: list[int], states: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    found = sequences.run("step", {"token": np.array(tokens), "state": states})
    return found["logits"], found["new_state"]


def test_rows_join_leave_and_fork_through_parents(built_bundle: Built) -> None:
    bundle = built_bundle("lstm")
    runner, sequences = step_runner(bundle)
    states = np.random.default_rng(0).uniform(-1, 1, (4, bundle.record.state_width)).astype(np.float32)
    for slot in range(3):
        runner.put(slot, states[slot])
    logits, present = expected_step(sequences, [1, 2, 3], states[:3])
    assert np.array_equal(runner.step(np.array([1, 2, 3]), np.arange(3)), logits)
    runner.put(5, states[3])  # joins; slot 1 leaves; slot 2 is forked
    parents = np.array([2, 5, 2, 0])
    origin = np.stack([present[2], states[3], present[2], present[0]])
    logits, present = expected_step(sequences, [4, 5, 6, 7], origin)
    assert np.array_equal(runner.step(np.array([4, 5, 6, 7]), parents), logits)
    assert np.array_equal(np.stack([runner.get(slot) for slot in range(4)]), present)


def test_a_failing_step_leaves_the_states_as_they_were(built_bundle: Built) -> None:
    bundle = built_bundle("gru")
    runner, _ = step_runner(bundle)
    row = np.full(bundle.record.state_width, 0.5, np.float32)
    runner.put(0, row)
    runner.put(1, -row)
    with pytest.raises(RunnerError, match="step failed"):
        runner.step(np.array([10_000, 0]), np.array([1, 0]))  # no such token
    assert np.array_equal(runner.get(0), row)
    assert np.array_equal(runner.get(1), -row)
    assert np.isfinite(runner.step(np.array([1, 2]), np.array([1, 0]))).all()


def test_a_step_without_memory_refuses_memory(built_bundle: Built) -> None:
    runner, _ = step_runner(built_bundle("gru"))
    with pytest.raises(RunnerError, match="takes no memory"):
        runner.put(0, runner.get(0), memory={})


def test_a_bad_input_is_the_runtimes_sentence_in_our_error(built_bundle: Built) -> None:
    _, sequences = step_runner(built_bundle("gru"))
    with pytest.raises(RunnerError, match="Graph advance of set int8 failed"):
        sequences.run("advance", {"ids": np.zeros((1, 2), np.int64)})
    with pytest.raises(RunnerError, match="Graph encode is not open"):
        sequences.run("encode", {})


def test_a_file_that_is_no_graph_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a graph")
    with pytest.raises(RunnerError, match=r"cannot open .*broken\.onnx"):
        open_session(path)


@pytest.mark.parametrize("graph_set", ["fp32", "int8"])
def test_files_that_are_changed_cut_or_removed_after_opening_change_no_answer(
    built_bundle: Built, tmp_path: Path, graph_set: str
) -> None:
    shutil.copytree(built_bundle("gru").path, tmp_path / "gru/1")
    bundle = Bundle(tmp_path / "gru/1")
    runner = OnnxSequenceRunner(open_graph_set(bundle.graph_set(graph_set)))
    width = bundle.record.state_width
    given = {
        "step": {"token": np.array([3, 1]), "state": np.full((2, width), 0.25, np.float32)},
        "advance": {
            "ids": np.array([[3, 1, 2]]),
            "lengths": np.array([3], np.int32),
            "state": np.zeros((1, width), np.float32),
        },
    }

    def answers() -> list[bytes]:
        return [array.tobytes() for graph, inputs in given.items() for array in runner.run(graph, inputs).values()]

    expected = answers()
    files = [path for path in bundle.graph_set_path(graph_set).iterdir() if path.suffix != ".json"]
    for damage in (overwrite_in_place, lambda path: os.truncate(path, 0), Path.unlink):
        for path in files:
            damage(path)
        assert answers() == expected


def overwrite_in_place(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"\x3f" * size)


def test_a_file_that_changes_between_its_check_and_its_reading_is_refused_by_name(
    built_bundle: Built, tmp_path: Path
) -> None:
    shutil.copytree(built_bundle("gru").path, tmp_path / "gru/1")
    for name in ("weights.bin", "step.onnx"):
        graph_set = Bundle(tmp_path / "gru/1").graph_set("int8")
        content = (graph_set.path / name).read_bytes()
        overwrite_in_place(graph_set.path / name)
        with pytest.raises(BundleCorruptError, match=f"{name} was changed"):
            open_graph_set(graph_set)
        (graph_set.path / name).write_bytes(content)


def test_weights_that_are_not_among_the_contents_are_never_read_from_the_disk(
    built_bundle: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither from the folder of the graph nor from the working directory."""
    graph_set = built_bundle("gru").graph_set("fp32")
    monkeypatch.chdir(graph_set.path)
    path = graph_set.graph("step")
    with pytest.raises(RunnerError, match=r"cannot open .*step\.onnx"):
        open_session(path, files={path.name: path.read_bytes()})
