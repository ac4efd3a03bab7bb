import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoding.candidates import top_candidates


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9), st.integers(1, 700), st.integers(1, 33), st.sampled_from([None, 0, 1]), st.integers(0, 10**6))
def test_they_are_the_largest_in_order_and_ties_go_to_the_lower_id(
    num_rows: int, width: int, count: int, decimals: int | None, seed: int
) -> None:
    logits = (np.random.default_rng(seed).standard_normal((num_rows, width)) * 3).astype(np.float32)
    if decimals is not None:
        logits = np.round(logits, decimals)
    found = top_candidates(logits, count)
    expected = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    assert found.ids.tolist() == expected.tolist()
    exact = logits.astype(np.float64)
    exact -= np.log(np.exp(exact).sum(axis=1, keepdims=True))
    assert np.allclose(found.log_probabilities, np.take_along_axis(exact, expected, axis=1), atol=2e-6)
    assert (found.log_probabilities <= 0).all()


def test_excluded_tokens_come_last_each_once() -> None:
    logits = np.full((3, 5), -np.inf, np.float32)
    logits[0, 3], logits[1], logits[2, [0, 4]] = 1, np.arange(5), [2, 7]
    found = top_candidates(logits, 4)
    assert found.ids.tolist() == [[3, 0, 1, 2], [4, 3, 2, 1], [4, 0, 1, 2]]
    assert np.isneginf(found.log_probabilities).sum(axis=1).tolist() == [3, 0, 2]


@pytest.mark.parametrize("width", [2, 100, 8000])
def test_a_rows_candidates_do_not_depend_on_the_neighbours_or_on_how_many_are_asked_for(width: int) -> None:
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal((64, width)) * 3).astype(np.float32)
    whole = top_candidates(logits, 17)
    for _ in range(30):
        some = rng.permutation(64)[: rng.integers(1, 64)]
        count = int(rng.integers(1, 18))
        found = top_candidates(np.ascontiguousarray(logits[some]), count)
        assert np.array_equal(found.ids, whole.ids[some, :count])
        assert np.array_equal(found.log_probabilities, whole.log_probabilities[some, :count])


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_marked_and_its_neighbours_are_not_touched(bad: float, count: int) -> None:
    logits = np.random.default_rng(1).standard_normal((3, 300)).astype(np.float32)
    before = top_candidates(logits, count)
    logits[1] = bad
    after = top_candidates(logits, count)
    assert np.isnan(after.log_probabilities[1]).all()
    for row in (0, 2):
        assert np.array_equal(after.ids[row], before.ids[row])
        assert np.array_equal(after.log_probabilities[row], before.log_probabilities[row])


def test_rows_of_one_search_are_cut_out_of_those_of_all() -> None:
    found = top_candidates(np.arange(24, dtype=np.float32).reshape(4, 6), 5).of_rows(np.array([1, 2]), 2)
    assert found.ids.tolist() == [[5, 4], [5, 4]]
    assert found.log_probabilities.shape == (2, 2)
