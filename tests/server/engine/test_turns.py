import pytest

from server.engine.turns import Turns


def test_after_reading_rows_step_until_they_have_had_their_share() -> None:
    turns = Turns(0.25)
    assert not turns.is_step_due
    turns.begin_reading()
    turns.took(2.0)
    for _ in range(6):
        assert turns.is_step_due
        turns.begin_step()
        turns.took(1.0)
    assert not turns.is_step_due


def test_a_step_follows_every_call_that_reads_even_one_that_costs_nothing() -> None:
    turns = Turns(0.9)
    turns.begin_reading()
    turns.took(0.0)
    assert turns.is_step_due
    turns.begin_step()
    turns.took(0.0)
    assert not turns.is_step_due


@pytest.mark.parametrize("share", [0, 1, -0.5, 2])
def test_a_share_that_leaves_nothing_to_one_side_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Turns(share)
