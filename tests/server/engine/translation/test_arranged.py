from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from server.engine.translation.batch import arranged

SEARCHES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=8)


@given(SEARCHES, st.randoms())
def test_searches_take_all_slots_without_gaps_and_keep_as_many_of_theirs_as_they_can(
    sizes: list[tuple[int, int]], random: object
) -> None:
    slots = list(range(sum(before for before, _ in sizes)))
    random.shuffle(slots)  # type: ignore[attr-defined]
    before = [[slots.pop() for _ in range(size)] for size, _ in sizes]
    counts = [count for _, count in sizes]
    after = arranged(before, counts)
    assert [len(mine) for mine in after] == counts
    assert sorted(chain.from_iterable(after)) == list(range(sum(counts)))
    for old, new in zip(before, after, strict=True):
        still_there = [slot for slot in old if slot < sum(counts)]
        assert new[: len(still_there)] == still_there[: len(new)]
