import pytest

from training.optimizer import FIRST, LAST, factor
from training.recipe import ScheduleSection


def course(kind: str, warmup_share: float, total: int = 100) -> list[float]:
    section = ScheduleSection.model_validate({"kind": kind, "warmup_share": warmup_share})
    return [factor(section, step, total) for step in range(total)]


def test_one_cycle_rises_then_falls() -> None:
    rates = course("one-cycle", 0.3)
    assert rates[0] == pytest.approx(FIRST)
    assert rates[30] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(LAST)
    assert rates[:31] == sorted(rates[:31])
    assert rates[30:] == sorted(rates[30:], reverse=True)


def test_cosine_without_warmup_begins_at_the_highest_rate() -> None:
    rates = course("cosine", 0.0)
    assert rates[0] == 1.0
    assert rates[-1] == pytest.approx(LAST)


def test_constant_warms_up_in_a_line_and_stays() -> None:
    assert course("constant", 0.04, 100)[:6] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("kind", ["one-cycle", "cosine", "constant"])
@pytest.mark.parametrize("warmup_share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("total", [1, 2, 3, 50])
def test_a_rate_is_always_above_zero_and_never_above_the_highest(kind: str, warmup_share: float, total: int) -> None:
    section = ScheduleSection.model_validate({"kind": kind, "warmup_share": warmup_share})
    assert all(0 < factor(section, step, total) <= 1 for step in range(total + 1))
