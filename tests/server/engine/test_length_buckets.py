from hypothesis import given
from hypothesis import strategies as st

from runtime.padding import padded_length
from server.engine.length_buckets import STEP_ROWS, length_bucket


class Item:
    def __init__(self, length: int) -> None:
        self.length = length


def cost(found: list[Item]) -> float:
    longest = padded_length(max(item.length for item in found))
    return longest * (STEP_ROWS + len(found)) / sum(padded_length(item.length) for item in found)


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=20), st.integers(16, 9000), st.integers(1, 64))
def test_the_first_goes_in_the_cheapest_call_within_the_budget(lengths: list[int], budget: int, most: int) -> None:
    items = [Item(length) for length in lengths]
    found = length_bucket(items, lambda item: item.length, budget, most)
    assert items[0] in found
    assert len(set(found)) == len(found) <= most
    assert [item.length for item in found] == sorted(item.length for item in found)
    assert len(found) == 1 or len(found) * padded_length(found[-1].length) <= budget
    ordered = sorted(items, key=lambda item: item.length)
    for low in range(len(ordered)):
        for high in range(low, len(ordered)):
            other = ordered[low : high + 1]
            fits = len(other) == 1 or len(other) * padded_length(other[-1].length) <= budget
            if items[0] in other and len(other) <= most and fits:
                assert cost(found) <= cost(other) * (1 + 1e-9)


def test_a_few_texts_go_together_and_many_with_their_like() -> None:
    few = [Item(length) for length in (100, 40, 60)]
    assert len(length_bucket(few, lambda item: item.length, 9000, 64)) == 3
    many = [Item(length) for length in [100] * 20 + [10] * 20]
    assert [item.length for item in length_bucket(many, lambda item: item.length, 9000, 64)] == [100] * 20
