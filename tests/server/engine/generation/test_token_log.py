import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.generation.token_log import NUM_STEPS, TokenLog

PLACES = 4
END = 0


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([1, 2, 3, 7, NUM_STEPS, 10 * NUM_STEPS]), st.integers(0, 40)),
        max_size=60,
    )
)
def test_each_row_is_looked_at_when_it_is_due_and_has_all_its_tokens(events: list[tuple[int, int, int]]) -> None:
    log = TokenLog(PLACES, END)
    rows: list[list[int]] = []  # by place, the tokens that were not taken
    due: list[int] = []  # by place, how many of them there are at the next look
    number = 0
    for what, num_tokens, num_steps in events:
        place = what % max(1, len(rows))
        if what < 2 and len(rows) < PLACES:
            log.begin(len(rows))
            log.expect(len(rows), num_tokens)
            rows.append([])
            due.append(min(num_tokens, NUM_STEPS))
        elif what < 4 and rows:
            rows[place], due[place] = rows[-1], due[-1]
            if place < len(rows) - 1:
                log.move(place, len(rows) - 1)
            del rows[-1], due[-1]
        elif rows:  # sooner or later than was said
            log.expect(place, num_tokens)
            due[place] = max(len(rows[place]) + 1, min(num_tokens, NUM_STEPS))
        for _ in range(num_steps if rows else 0):
            number += 1
            tokens = [(number * 31 + i * 7) % 50 for i in range(len(rows))]
            for row, token in zip(rows, tokens, strict=True):
                row.append(token)
            wanted = [i for i, row in enumerate(rows) if row[-1] == END or len(row) == due[i]]
            assert log.note(np.array(tokens)) == wanted
            for i in wanted:
                assert log.take(i) == rows[i]
                log.expect(i, num_tokens)
                rows[i], due[i] = [], min(num_tokens, NUM_STEPS)


@pytest.mark.parametrize("end_id", [None, END])
def test_only_an_end_token_is_looked_at_before_a_row_is_due(end_id: int | None) -> None:
    log = TokenLog(2, end_id)
    for place in range(2):
        log.begin(place)
        log.expect(place, 9)
    assert log.note(np.array([1, END])) == ([] if end_id is None else [1])


def test_a_row_that_takes_the_place_of_another_is_not_looked_at_in_its_stead() -> None:
    log = TokenLog(1, None)
    log.begin(0)
    log.expect(0, 2)
    log.note(np.array([5]))
    log.begin(0)
    log.expect(0, 3)
    assert [log.note(np.array([token])) for token in (6, 7, 8)] == [[], [], [0]]
    assert log.take(0) == [6, 7, 8]
