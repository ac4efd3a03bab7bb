"""The answer does not depend on the rest of the batch: every cell kind, fp32 and int8, through the served files."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.bundle import Bundle
from models.cells import CELL_KINDS, CellKind
from runtime.onnxruntime.build import open_graph_set
from runtime.onnxruntime.run import OnnxSequenceRunner, OnnxStepRunner

Built = Callable[[CellKind], Bundle]
CASES = [pytest.param(kind, name, id=f"{kind}-{name}") for kind in CELL_KINDS for name in ("fp32", "int8")]
NUM_ROWS = 64
NUM_TOKENS = 40


class Opened:
    def __init__(self, bundle: Bundle, set_name: str) -> None:
        graphs = open_graph_set(bundle.graph_set(set_name))
        self.width = bundle.record.state_width
        self.sequences = OnnxSequenceRunner(graphs)
        self.steps = OnnxStepRunner(graphs, 2 * NUM_ROWS, self.width)
        generator = np.random.default_rng(5)
        self.ids = generator.integers(bundle.config.vocab_size, size=(NUM_ROWS, NUM_TOKENS))
        self.lengths = generator.integers(1, NUM_TOKENS + 1, size=NUM_ROWS).astype(np.int32)

    def advance(self, ids: np.ndarray, lengths: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = self.sequences.run("advance", {"ids": ids, "lengths": lengths, "state": state})
        return found["logits"], found["new_state"]

    def zeros(self, rows: int) -> np.ndarray:
        return np.zeros((rows, self.width), np.float32)


@pytest.mark.parametrize(("kind", "set_name"), CASES)
def test_a_row_alone_and_among_64_of_other_lengths_gives_the_same_bytes(
    built_bundle: Built, kind: CellKind, set_name: str
) -> None:
    opened = Opened(built_bundle(kind), set_name)
    logits, state = opened.advance(opened.ids, opened.lengths, opened.zeros(NUM_ROWS))
    for row in range(NUM_ROWS):
        own = slice(row, row + 1)
        alone = opened.ids[own, : opened.lengths[row]].copy()
        row_logits, row_state = opened.advance(alone, opened.lengths[own], opened.zeros(1))
        assert row_logits.tobytes() == logits[own].tobytes()
        assert row_state.tobytes() == state[own].tobytes()


@pytest.mark.parametrize(("kind", "set_name"), CASES)
@pytest.mark.parametrize("size", [1, 7, 16])
def test_one_piece_and_chunks_give_the_same_bytes(
    built_bundle: Built, kind: CellKind, set_name: str, size: int
) -> None:
    opened = Opened(built_bundle(kind), set_name)
    full = np.full(NUM_ROWS, NUM_TOKENS, np.int32)
    logits, state = opened.advance(opened.ids, full, opened.zeros(NUM_ROWS))
    carried = opened.zeros(NUM_ROWS)
    for start in range(0, NUM_TOKENS, size):
        chunk = opened.ids[:, start : start + size].copy()
        lengths = np.full(NUM_ROWS, chunk.shape[1], np.int32)
        last, carried = opened.advance(chunk, lengths, carried)
    assert last.tobytes() == logits.tobytes()
    assert carried.tobytes() == state.tobytes()


@pytest.mark.parametrize(("kind", "set_name"), CASES)
def test_advance_and_repeated_steps_give_the_same_bytes(built_bundle: Built, kind: CellKind, set_name: str) -> None:
    opened = Opened(built_bundle(kind), set_name)
    full = np.full(NUM_ROWS, NUM_TOKENS, np.int32)
    logits, state = opened.advance(opened.ids, full, opened.zeros(NUM_ROWS))
    for slot in range(NUM_ROWS):
        opened.steps.put(slot, opened.zeros(1)[0])
    parents = np.arange(NUM_ROWS)
    for column in range(NUM_TOKENS):
        last = opened.steps.step(opened.ids[:, column].copy(), parents)
    assert last.tobytes() == logits.tobytes()
    assert np.stack([opened.steps.get(slot) for slot in range(NUM_ROWS)]).tobytes() == state.tobytes()


@pytest.mark.parametrize(("kind", "set_name"), CASES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_company_and_any_cut_gives_the_same_bytes(
    built_bundle: Built, kind: CellKind, set_name: str, data: st.DataObject
) -> None:
    """A random row in a random batch, cut at a random place, the rest of it by single steps in a moving slot."""
    opened = Opened(built_bundle(kind), set_name)
    row = data.draw(st.integers(0, NUM_ROWS - 1))
    cut = data.draw(st.integers(1, NUM_TOKENS - 1))
    others = data.draw(st.lists(st.integers(0, NUM_ROWS - 1), max_size=20))
    place = data.draw(st.integers(0, len(others)))
    rows = [*others[:place], row, *others[place:]]
    own = slice(row, row + 1)
    expected, expected_state = opened.advance(opened.ids[own], np.array([NUM_TOKENS], np.int32), opened.zeros(1))
    lengths = np.minimum(opened.lengths[rows], cut).astype(np.int32)
    lengths[place] = cut
    _, states = opened.advance(opened.ids[rows, :cut].copy(), lengths, opened.zeros(len(rows)))
    for slot, each in enumerate(states):
        opened.steps.put(slot, each)
    parents = np.arange(len(rows))
    for column in range(cut, NUM_TOKENS):
        order = np.array(data.draw(st.permutations(range(len(parents))))) if column == cut else parents
        place = int(np.flatnonzero(order == place)[0])
        tokens = opened.ids[[rows[i] for i in order], column].copy()
        rows = [rows[i] for i in order]
        logits = opened.steps.step(tokens, order)
    assert logits[place].tobytes() == expected[0].tobytes()
    assert opened.steps.get(place).tobytes() == expected_state[0].tobytes()
