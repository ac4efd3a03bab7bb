from hypothesis import given
from hypothesis import strategies as st

from runtime.padding import padded_length
from server.engine.length_buckets import length_bucket


class Item:
    def __init__(self, length: int) -> None:
        self.length = length


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=80), st.integers(16, 9000), st.integers(1, 64))
def test_the_first_goes_with_others_of_similar_length_within_the_budget(
    lengths: list[int], budget: int, most: int
) -> None:
    items = [Item(length) for length in lengths]
    found = length_bucket(items, lambda item: item.length, budget, most)
    assert items[0] in found
    assert len(set(found)) == len(found) <= most
    padded = [padded_length(item.length) for item in found]
    assert padded == sorted(padded)
    assert len(found) == 1 or len(found) * max(padded) <= budget
    assert max(padded) < 2 * min(padded)


def test_the_nearest_in_length_go_first() -> None:
    items = [Item(length) for length in (100, 64, 127, 96, 104, 70)]
    found = length_bucket(items, lambda item: item.length, 3 * 112, 64)
    assert [item.length for item in found] == [96, 100, 104]
