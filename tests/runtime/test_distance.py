"""The one measure of how far an answer is from another."""

import numpy as np
import pytest

from models.graph_set import Golden
from runtime.distance import allowed_difference, difference, is_beyond_jump, own_errors, scales
from runtime.golden import golden_error

NAN, INF = np.nan, np.inf


def test_nan_where_expected_is_nan_is_equal_and_nowhere_else() -> None:
    expected = np.array([NAN, INF, -INF, 1.0, 4.0, NAN, INF], np.float32)
    found = np.array([NAN, INF, INF, NAN, 4.0, 0.0, 3.0], np.float32)
    assert difference(found, expected).tolist() == [0, 0, INF, INF, 0, INF, INF]


def test_differences_are_relative_to_the_largest_magnitude_of_the_row() -> None:
    assert difference(np.array([1.0, 102.0]), np.array([2.0, 100.0])).tolist() == [0.01, 0.02]
    assert difference(np.array([0.5]), np.array([0.25])).tolist() == [1]
    found, expected = np.array([[[1.0, 3.0]], [[0.011, 0.01]]]), np.array([[[2.0, 4.0]], [[0.01, 0.01]]])
    np.testing.assert_allclose(difference(found, expected), [[[0.25, 0.25]], [[0.1, 0]]], atol=1e-12)
    assert difference(np.zeros((0, 3)), np.zeros((0, 3))).size == 0
    assert difference(np.array(3.0), np.array(2.0)) == 0.5


def test_integers_are_equal_or_not() -> None:
    assert difference(np.array([500_001, 6]), np.array([500_000, 6])).tolist() == [INF, 0]
    assert allowed_difference(np.array([3, 4]), np.array([3, 5]), 1e-5).tolist() == [1e-5, INF]


@pytest.mark.parametrize("ban", [-1e9, -1e4, 3.4e38, -INF, NAN])
def test_what_is_beyond_a_jump_is_measured_apart(ban: float) -> None:
    expected = np.array([[ban, 1.0, 2.0, 0.5], [0.5, 1.0, ban, ban]], np.float32)
    found = expected.copy()
    found[0, 1] += 0.2
    assert difference(found, expected)[0, 1] == pytest.approx(0.1)
    assert is_beyond_jump(expected).sum() == 3
    beyond = np.isfinite(ban)
    assert not beyond or difference(expected * np.float32(0.9), expected)[0, 0] == pytest.approx(0.1)


def test_a_number_that_is_small_by_chance_is_no_row_of_its_own() -> None:
    expected = np.array([[1e-7, 0.3, 0.5, 0.0]])
    assert (difference(expected + 1e-7, expected) <= 1e-5).all()
    assert not (difference(expected + 1e-5, expected) <= 1e-5).all()
    assert not is_beyond_jump(expected).any()
    assert scales(np.array([[1e-7, 2e-7]])).max() == 2e-7


def test_own_error_counts_where_it_is_rounding_and_not_another_decision() -> None:
    answer = np.array([[1.0, 2.0, 3.0, -1e9]], np.float32)
    precise = np.array([[1.0 + 1e-4, 2.0, 7.0, -1e9 + 40]])
    np.testing.assert_allclose(own_errors(answer, precise), [[1e-4, 1e-4, 1e-4, 40]], rtol=1e-6)
    allowed = allowed_difference(answer, precise, 1e-5)
    np.testing.assert_allclose(allowed, [[4e-4 / 3, 4e-4 / 3, 4e-4 / 3, 1e-5]], rtol=1e-6)
    assert (allowed_difference(answer, None, 1e-5) == 1e-5).all()
    assert (allowed_difference(answer, precise[0], 1e-5) == 1e-5).all()


def test_a_golden_vector_with_a_banned_token_is_held_against_its_other_numbers() -> None:
    ban = -1e9
    golden = Golden(ids=[0], logits=[ban, 1.0, 2.0, 3.0])
    assert golden_error(golden, np.array([ban, 1, 2, 3], np.float32)) == 0
    assert golden_error(golden, np.array([ban, 2, 3, 4], np.float32)) > 1
    assert golden_error(golden, np.array([0, 1, 2, 3], np.float32)) == INF
    assert not golden_error(golden, np.array([ban, 1, 2, NAN], np.float32)) <= 1
