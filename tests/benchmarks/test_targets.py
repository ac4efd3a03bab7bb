import math

import pytest

from benchmarks.targets import Target, number


@pytest.mark.parametrize(
    ("sign", "value", "is_met"),
    [(">=", 0.8, True), (">=", 0.79, False), ("<=", 0.8, True), ("<=", 0.81, False), (">=", math.nan, False)],
)
def test_the_limit_itself_is_allowed_and_no_number_never_meets(sign: str, value: float, is_met: bool) -> None:
    target = Target("x", sign, 0.8, value)  # type: ignore[arg-type]
    assert target.is_met is is_met
    assert target.as_json()["is_met"] is is_met


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0.0, 0.3141, 22_384.4, 99.96)] == ["0", "0.314", "22,384", "100"]
