from hypothesis import given
from hypothesis import strategies as st

from server.engine.line import Line


def line_of(*items: tuple[str, int]) -> Line[int]:
    line: Line[int] = Line()
    for group, item in items:
        line.add(group, item)
    return line


def test_groups_take_turns() -> None:
    line = line_of(("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("c", 6))
    assert list(line) == [1, 4, 5, 2, 6, 3]
    assert len(line) == 6


def test_a_group_that_has_had_its_turn_goes_to_the_end() -> None:
    line = line_of(("a", 1), ("a", 2), ("b", 3), ("b", 4))
    line.take("a", 1)
    assert list(line) == [3, 2, 4]


def test_leaving_does_not_change_the_turns_and_leaving_twice_does_nothing() -> None:
    line = line_of(("a", 1), ("a", 2), ("b", 3))
    assert line.discard("a", 1)
    assert not line.discard("a", 1)
    assert not line.discard("z", 1)
    assert list(line) == [2, 3]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_everyone_comes_exactly_once_in_the_order_of_its_group(groups: list[int]) -> None:
    line: Line[int] = Line()
    for item, group in enumerate(groups):
        line.add(group, item)
    order = []
    while len(line):
        item = next(iter(line))
        order.append(item)
        line.take(groups[item], item)
    assert sorted(order) == list(range(len(groups)))
    for group in set(groups):
        of_group = [item for item in order if groups[item] == group]
        assert of_group == sorted(of_group)
