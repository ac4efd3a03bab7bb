import pytest

from benchmarks.serving.histogram import Histogram


def metrics(*counts: float, total: float) -> dict[str, float]:
    bounds = ("1.0", "2.0", "4.0", "8.0", "+Inf")
    found = {f'size_bucket{{le="{bound}",model="m"}}': count for bound, count in zip(bounds, counts, strict=True)}
    others = {'size_bucket{le="1.0",model="other"}': 99.0, 'size_sum{model="other"}': 99.0}
    return found | others | {'size_sum{model="m"}': total}


def test_only_what_was_observed_between_two_looks_counts() -> None:
    found = Histogram.between(
        metrics(5, 5, 5, 5, 5, total=5), metrics(5, 5, 9, 13, 13, total=5 + 4 * 3 + 4 * 7), "size", 'model="m"'
    )
    assert found.mean == 5
    assert found.quantile(0.5) == 4
    assert found.quantile(0.25) == 3
    assert found.quantile(0.75) == 6


def test_above_the_last_bound_it_is_that_bound_and_of_nothing_0() -> None:
    assert Histogram.between({}, metrics(0, 0, 0, 0, 3, total=30), "size", 'model="m"').quantile(0.5) == 8
    same = metrics(1, 2, 3, 4, 5, total=9)
    nothing = Histogram.between(same, same, "size", 'model="m"')
    assert (nothing.mean, nothing.quantile(0.5)) == (0, 0)


def test_a_histogram_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="no_such_sum"):
        Histogram.between({}, {}, "no_such")
