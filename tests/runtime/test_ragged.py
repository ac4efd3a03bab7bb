from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.build import build_sets
from models.cells import CELL_KINDS, CellKind
from runtime.onnxruntime.build import open_graph_set
from runtime.onnxruntime.ragged import PIECE, cuts
from runtime.onnxruntime.run import OnnxSequenceRunner
from tests.tiny_models import tiny_bundle


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40))
def test_cuts_rise_to_the_longest_row(lengths: list[int]) -> None:
    found = cuts(np.array(lengths, np.int32))
    assert found == sorted(set(found))
    assert found[-1] == max(lengths)
    assert all(cut % PIECE == 0 for cut in found[:-1])


def test_rows_of_one_length_are_not_cut() -> None:
    assert cuts(np.full(20, 32, np.int32)) == [32]


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_a_row_of_a_ragged_call_has_the_bits_of_a_call_alone(tmp_path: Path, kind: CellKind) -> None:
    bundle = tiny_bundle(tmp_path, kind)
    build_sets(bundle, ("int8",))
    runner = OnnxSequenceRunner(open_graph_set(bundle.graph_set("int8")))
    generator = np.random.default_rng(0)
    lengths = np.array([32, 1, 9, 32, 8, 17, 3, 30, 32, 16, 7, 25], np.int32)
    assert len(cuts(lengths)) > 2
    ids = generator.integers(0, bundle.tokenizer.vocab_size, (len(lengths), 32))
    state = generator.uniform(0, 0.5, (len(lengths), bundle.record.state_width)).astype(np.float32)
    together = runner.run("advance", {"ids": ids, "lengths": lengths, "state": state})
    for row, length in enumerate(lengths):
        one = slice(row, row + 1)
        alone = runner.run("advance", {"ids": ids[one, :length], "lengths": lengths[one], "state": state[one]})
        for name, values in alone.items():
            assert together[name][row].tobytes() == values[0].tobytes(), (name, row)
