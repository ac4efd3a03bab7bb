"""The attention step runner: memories are shared, move with their rows, and are never mixed up."""

from collections.abc import Callable

import numpy as np
import pytest

from models.bundle import Bundle
from models.errors import RunnerError
from runtime.onnxruntime import memories
from runtime.onnxruntime.attention_run import OnnxAttentionStepRunner
from runtime.onnxruntime.build import open_graph_set
from runtime.onnxruntime.run import OnnxSequenceRunner
from runtime.padding import padded, padded_length

Built = Callable[..., Bundle]
Row = tuple[np.ndarray, dict[str, np.ndarray]]
CAPACITY = 32


@pytest.fixture
def runner(built_bundle: Built) -> OnnxAttentionStepRunner:
    bundle = built_bundle("lstm", "translation")
    return OnnxAttentionStepRunner(open_graph_set(bundle.graph_set("fp32")), CAPACITY, bundle.record.state_width)


@pytest.fixture
def rows(built_bundle: Built) -> list[Row]:
    """Ten sources of very different lengths, encoded."""
    bundle = built_bundle("lstm", "translation")
    sequences = OnnxSequenceRunner(open_graph_set(bundle.graph_set("fp32")))
    generator = np.random.default_rng(0)
    found = []
    for length in (1, 3, 15, 16, 17, 40, 2, 33, 5, 64):
        ids, lengths = padded([generator.integers(bundle.config.vocab_size, size=length).tolist()])
        encoded = sequences.run("encode", {"ids": ids, "lengths": lengths})
        found.append((encoded["state"][0], {name: encoded[name][0, :length] for name in ("memory", "keys")}))
    return found


@pytest.mark.parametrize("shorter_steps", [0, 2, 1000])
def test_rows_that_join_leave_and_change_places_answer_as_alone(
    runner: OnnxAttentionStepRunner, rows: list[Row], shorter_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the array of memories is cut to what is needed at once, soon or never."""
    monkeypatch.setattr(memories, "_SHORTER_CALLS", shorter_steps)
    expected = [_alone(runner, row) for row in rows]
    generator = np.random.default_rng(1)
    live: list[tuple[int, int]] = []  # (source, steps done), by slot
    for _ in range(60):
        stay = generator.permutation(len(live))[: generator.integers(0, len(live) + 1)].tolist()
        joining = generator.integers(0, len(rows), size=generator.integers(0 if stay else 1, 4)).tolist()
        parents = list(stay)
        for place, source in enumerate(joining):
            runner.put(len(live) + place, *rows[source])
            parents.append(len(live) + place)
        live = [live[slot] for slot in stay] + [(source, 0) for source in joining]
        keep = [index for index, (_, done) in enumerate(live) if done < 5][:12]
        live, parents = [live[index] for index in keep], [parents[index] for index in keep]
        if not live:
            continue
        tokens = np.array([_token(done) for _, done in live], np.int64)
        logits = runner.step(tokens, np.array(parents))
        for slot, (source, done) in enumerate(live):
            assert logits[slot].tobytes() == expected[source][done]
        assert runner.attention.shape[1] == padded_length(max(len(rows[source][1]["keys"]) for source, _ in live))
        live = [(source, done + 1) for source, done in live]


def test_a_long_source_that_has_left_is_computed_with_for_some_steps_and_no_longer(
    runner: OnnxAttentionStepRunner, rows: list[Row]
) -> None:
    expected = {source: _alone(runner, rows[source]) for source in (0, 9)}
    lengths = []
    for source in (9, *[0] * (memories._SHORTER_CALLS + 2), 9):
        runner.put(0, *rows[source])
        assert runner.step(np.array([_token(0)]), np.zeros(1, np.int64))[0].tobytes() == expected[source][0]
        lengths.append(runner._memories._memory.shape[1])
    assert lengths == [64] * (1 + memories._SHORTER_CALLS) + [16, 16, 64]


def test_one_put_serves_every_row_of_a_beam(runner: OnnxAttentionStepRunner, rows: list[Row]) -> None:
    runner.put(0, *rows[5])
    logits = runner.step(np.full(4, _token(0)), np.zeros(4, np.int64))
    assert {row.tobytes() for row in logits} == {_alone(runner, rows[5])[0]}
    assert runner.attention.shape == (1, 48)


def test_the_attention_of_a_row_sums_to_one_and_is_zero_past_its_source(
    runner: OnnxAttentionStepRunner, rows: list[Row]
) -> None:
    for slot, row in enumerate(rows):
        runner.put(slot, *row)
    runner.step(np.zeros(len(rows), np.int64), np.arange(len(rows)))
    assert np.allclose(runner.attention.sum(axis=1), 1, atol=1e-6)
    for attention, (_, memory) in zip(runner.attention, rows, strict=True):
        assert (attention[len(memory["memory"]) :] == 0).all()


def test_a_slot_that_holds_no_row_is_refused_as_a_parent(runner: OnnxAttentionStepRunner, rows: list[Row]) -> None:
    runner.put(0, *rows[0])
    with pytest.raises(RunnerError, match="holds no row"):
        runner.step(np.zeros(2, np.int64), np.array([0, 1]))
    assert runner.step(np.zeros(1, np.int64), np.array([0])).shape[0] == 1


def test_a_state_without_a_memory_is_refused(runner: OnnxAttentionStepRunner, rows: list[Row]) -> None:
    with pytest.raises(RunnerError, match="asks a memory"):
        runner.put(0, rows[0][0])


def _token(done: int) -> int:
    return 3 + done


def _alone(runner: OnnxAttentionStepRunner, row: Row) -> list[bytes]:
    """Five steps' logits of a row that is alone."""
    runner.put(0, *row)
    return [runner.step(np.array([_token(done)]), np.zeros(1, np.int64))[0].tobytes() for done in range(5)]
