import pytest

from benchmarks.rounds import fastest, in_turn, ratio


def test_variants_are_called_in_turn_round_after_round() -> None:
    calls: list[str] = []
    times = in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, seconds=0)
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}
    assert "".join(calls) == "aabb" + "ab" * 3


def test_a_ratio_is_paired_so_a_slow_round_slows_both() -> None:
    times = {"slow": [40.0, 400.0, 44.0], "fast": [10.0, 100.0, 11.0], "other": [9.0, 500.0, 12.0]}
    assert ratio(times, "slow", "fast") == pytest.approx(4)
    assert fastest(times, ["slow", "fast", "other"]) == "fast"
