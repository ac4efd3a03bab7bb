import math

import pytest

from server.engine.scheduler import LENGTHS, WindowLength


@pytest.mark.parametrize("max_steps", LENGTHS)
@pytest.mark.parametrize("num_wanted", [1, 2, 3, 7, 8, 100])
def test_a_window_is_the_shortest_that_holds_what_is_wanted_or_the_longest(max_steps: int, num_wanted: int) -> None:
    chosen = WindowLength(max_steps, math.inf).choose(4, num_wanted)
    assert chosen == min(max_steps, next((length for length in LENGTHS if length >= num_wanted), max_steps))


def test_a_window_of_slow_steps_is_short_and_the_first_is_one_step() -> None:
    window = WindowLength(8, 0.025)
    assert window.choose(4, 100) == 1
    window.record(4, 1, 0.001)
    assert window.choose(5, 100) == 8  # as many binary digits
    window = WindowLength(8, 0.025)
    window.record(64, 1, 0.01)
    assert window.choose(64, 100) == 2
    assert window.choose(1, 100) == 1  # not known yet


def test_a_limit_between_two_lengths_gives_the_shorter() -> None:
    window = WindowLength(3)
    window.record(1, 1, 0.0001)
    assert window.choose(1, 100) == 2
