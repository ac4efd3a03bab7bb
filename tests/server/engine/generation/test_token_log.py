import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engine.generation.token_log import NUM_STEPS, TokenLog

NUM_SLOTS = 4
END = 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from([1, 2, 7, NUM_STEPS]), st.integers(0, 20), st.sampled_from([1, 2, 4, 8])
        ),
        max_size=60,
    )
)
def test_each_row_is_due_in_time_and_has_all_its_tokens(events: list[tuple[int, int, int, int]]) -> None:
    log = TokenLog(NUM_SLOTS, END)
    rows: list[list[int]] = []  # by slot, the tokens that were not taken
    skipped: list[int] = []  # by slot, tokens still to be left out
    wanted: list[int] = []  # by slot
    number = 0
    for what, num_tokens, num_windows, num_steps in events:
        slot = what % max(1, len(rows))
        if what < 3 and len(rows) < NUM_SLOTS:
            skipped.append(num_windows)
            log.reset(len(rows), num_windows)
            log.set_due(len(rows), num_tokens)
            rows.append([])
            wanted.append(min(num_tokens, NUM_STEPS // 2))
        elif rows:
            if slot < len(rows) - 1:
                log.move(slot, len(rows) - 1)
                rows[slot], wanted[slot], skipped[slot] = rows[-1], wanted[-1], skipped[-1]
            del rows[-1], wanted[-1], skipped[-1]
        for _ in range(num_windows if rows else 0):
            has_end = [False] * len(rows)
            tokens = np.zeros((num_steps, len(rows)), np.int64)
            for step in range(num_steps):
                number += 1
                for i in range(len(rows)):
                    tokens[step, i] = (number * 31 + i * 7) % 50
                    if skipped[i]:
                        skipped[i] -= 1
                    else:
                        rows[i].append(int(tokens[step, i]))
                        has_end[i] |= tokens[step, i] == END
            due = [i for i in range(len(rows)) if has_end[i] or len(rows[i]) >= wanted[i]]
            assert log.append(tokens) == due
            for i in due:
                assert log.take(i) == rows[i]
                log.set_due(i, num_tokens)
                rows[i], wanted[i] = [], min(num_tokens, NUM_STEPS // 2)


@pytest.mark.parametrize("end_id", [None, END])
def test_only_an_end_token_or_a_negative_one_makes_a_row_due_before_its_time(end_id: int | None) -> None:
    log = TokenLog(3, end_id)
    for slot in range(3):
        log.reset(slot, 0)
        log.set_due(slot, 9)
    assert log.append(np.array([[1, END, -1]])) == ([2] if end_id is None else [1, 2])
