import pytest

from server.engine.turns import Turns


def test_after_reading_rows_step_until_reading_has_had_no_more_than_its_share() -> None:
    turns = Turns(0.25)
    assert turns.may_read(can_step=True)
    turns.begin_reading()
    turns.read(2.0)
    for _ in range(6):
        assert not turns.may_read(can_step=True)
        turns.stepped(1.0)
    assert turns.may_read(can_step=True)


def test_steps_beside_a_reading_are_no_rest_after_it() -> None:
    turns = Turns(0.5)
    turns.begin_reading()
    turns.stepped(5.0)
    turns.read(2.0)
    assert not turns.may_read(can_step=True)
    turns.stepped(2.0)
    assert turns.may_read(can_step=True)


def test_nothing_rests_while_no_row_can_step() -> None:
    turns = Turns(0.1)
    turns.begin_reading()
    turns.read(9.0)
    assert turns.may_read(can_step=False)
    assert not turns.may_read(can_step=True)


def test_one_reading_at_a_time() -> None:
    turns = Turns(0.5)
    turns.begin_reading()
    assert not turns.may_read(can_step=False)


@pytest.mark.parametrize("share", [0, 1, -0.5, 2])
def test_a_share_that_leaves_nothing_to_one_side_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Turns(share)
