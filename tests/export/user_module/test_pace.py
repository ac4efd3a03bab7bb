"""Sizes are tried by what smaller ones took, and what is not tried is said."""

import re
from itertools import pairwise

from torch import nn

from export.user_module.draw import new_drawing
from export.user_module.inputs import input_spec_from_text
from export.user_module.pace import MAX_SECONDS, MAX_TOTAL_SECONDS, Pace

DRAWING = new_drawing(nn.Linear(1, 1), [input_spec_from_text("ids:int64[batch,time]")], {})


class Clock:
    """Moves on by what a comparison costs."""

    def __init__(self, power: float) -> None:
        self.power = power
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def tried(power: float, wanted: list[dict[str, int]]) -> tuple[list[int], Pace]:
    """Elements of the comparisons that were made, each of which costs 1e-6 s times its elements to a power."""
    clock = Clock(power)
    pace, found = Pace(DRAWING, clock), []
    for sizes in wanted:
        for at in pace.steps_to(sizes):
            with pace.timed(at):
                found.append(DRAWING.num_elements(at))
                clock.now += 1e-6 * found[-1] ** power
    return found, pace


def test_a_size_that_is_cheap_is_reached_step_by_step() -> None:
    found, pace = tried(1, [{"batch": 1, "time": 80_000}])
    assert found[-1] == 80_000
    assert all(later <= 4.2 * before for before, later in pairwise(found))
    assert pace.why_left is None


def test_a_size_that_would_take_minutes_is_left_and_the_reason_said() -> None:
    found, pace = tried(2, [{"batch": 1, "time": 9}, {"batch": 1, "time": 80_000}])
    assert found[0] == 9
    assert max(found) ** 2 * 1e-6 <= MAX_SECONDS
    assert max(found) > 500
    assert pace.why_left is not None
    assert re.match(r"comparing took \d\.\d seconds at batch=\d, time=\d+, and grows with the size", pace.why_left)


def test_many_slow_sizes_end_together() -> None:
    found, pace = tried(1, [{"batch": 1, "time": 1_000_000 + 10 * turn} for turn in range(100)])
    assert sum(found) * 1e-6 <= MAX_TOTAL_SECONDS + 2
    assert pace.why_left == f"comparing took more than {MAX_TOTAL_SECONDS:g} seconds"


def test_sizes_after_some_that_were_left_are_tried_where_they_are_small() -> None:
    found, pace = tried(2, [{"batch": 1, "time": 80_000}, {"batch": 1, "time": 30}])
    assert found[-1] == 30
    assert pace.why_left is None
