from pathlib import Path

import numpy as np

from benchmarks.generation_bare import BareLoops, BareStep, row_cap
from benchmarks.generation_workload import MODEL
from models.bundle import Bundle
from models.store import Store
from runtime.onnxruntime.build import open_graph_set

BUNDLE = Bundle(Store(Path(__file__).parents[2] / "artifacts").resolve(MODEL))


def test_the_bare_loop_feeds_the_state_back() -> None:
    session = open_graph_set(BUNDLE.graph_set("int8"), graphs=["step"]).session("step")
    width = BUNDLE.record.state_width
    step = BareStep(session, 3, width)
    for _ in range(4):
        step()
    logits, state = np.zeros(0), np.zeros((3, width), np.float32)
    for _ in range(8):
        logits, state = session.run(["logits", "new_state"], {"token": np.ones(3, np.int64), "state": state})
    np.testing.assert_array_equal(step.state, state)
    np.testing.assert_array_equal(step.logits, logits)


def test_rates_are_of_rows_not_of_calls() -> None:
    loops = BareLoops(BUNDLE, "int8")
    step = loops.step(4)
    assert step.rows_per_second(0.02) > 0
    assert step.num_steps % 2 == 0
    assert loops.seconds_per_prompt_token(0.01) > 0


def test_the_row_cap_is_the_smallest_batch_near_the_peak() -> None:
    assert row_cap({1: 10.0, 8: 80.0, 32: 95.0, 64: 100.0, 96: 99.0}) == 32
    assert row_cap({1: 10.0, 8: 80.0, 32: 94.9, 64: 100.0, 96: 99.0}) == 64
