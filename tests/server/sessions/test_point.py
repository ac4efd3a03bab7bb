"""Where a session stands, and what it keeps to go back to: all of it belongs to the tokens that it holds."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.sessions.point import Point
from tests.server.fake_runner import STATE_WIDTH
from tests.server.sessions.test_reading import row_after

CALLS = st.lists(st.integers(1, 50), min_size=1, max_size=12)  # a call's tokens
REWINDS = st.one_of(st.sampled_from([0, 1, 2]), st.integers(0, 40))  # to which length, the present one at most


@settings(deadline=None)
@given(st.lists(st.one_of(CALLS, CALLS, CALLS, REWINDS), min_size=12, max_size=30))
def test_every_state_that_is_kept_is_that_of_the_first_tokens(happenings: list[list[int] | int]) -> None:
    point = Point.beginning(STATE_WIDTH)
    for happening in happenings:
        before, old_tokens, old_marks = point, point.tokens.tolist(), point.marks
        if isinstance(happening, list):
            tokens = np.array([*old_tokens, *happening], np.int32)
            point = point.extended(tokens, row_after(tokens))
            known = [mark.num_read for mark in old_marks] + ([before.num_read] if before.num_read else [])
            assert [mark.num_read for mark in point.marks] == known[-8:], "the ends of the latest calls"
        else:
            to = min(happening, len(point.tokens))
            point = point.rewound(to, row_after(point.tokens[:to]))
            tokens = before.tokens[:to]
            assert point.marks == tuple(mark for mark in old_marks if mark.num_read < to - 1)
            assert point.tokens.base is None, "what was cut off is still in memory"
        assert point.tokens.tolist() == tokens.tolist()
        assert before.tokens.tolist() == old_tokens
        assert before.marks == old_marks
        check(point)


def check(point: Point) -> None:
    numbers = [0, *(mark.num_read for mark in point.marks), point.num_read]
    assert all(first < second for first, second in pairwise(numbers[1:])), numbers
    arrays: list[NDArray[np.generic]] = [point.tokens, point.row, *(mark.row for mark in point.marks)]
    assert point.num_bytes == sum(array.nbytes for array in arrays) + 1000
    for num_read in range(point.num_read + 2):
        mark = point.nearest(num_read)
        assert mark.num_read == max(number for number in numbers if number <= num_read)
        assert mark.row.tobytes() == row_after(point.tokens[: mark.num_read + 1]).tobytes()


def test_a_rewind_to_the_beginning_leaves_nothing_of_the_text_that_was() -> None:
    """What is said next is shorter than what was said, then longer: states of both lie between."""
    for to in (0, 1):
        point = Point.beginning(STATE_WIDTH)
        for tokens in ([7] * 10, [7] * 20):
            point = point.extended(np.array(tokens, np.int32), row_after(np.array(tokens)))
        point = point.rewound(to, np.zeros(STATE_WIDTH, np.float32))
        assert point.marks == ()
        other = np.array([7, *[8] * 29], np.int32)
        point = point.extended(other, row_after(other))
        assert point.nearest(15).num_read == 0
