from hypothesis import given
from hypothesis import strategies as st

from server.engine.slots import SlotAllocator, SlotQuota


@given(st.integers(1, 80), st.lists(st.tuples(st.integers(0, 5), st.integers(1, 8), st.booleans()), max_size=80))
def test_no_more_slots_are_held_than_there_are_and_reserved_ones_by_small_requests_alone(
    num_slots: int, events: list[tuple[int, int, bool]]
) -> None:
    slots = SlotAllocator(num_slots)
    quotas = [SlotQuota() for _ in range(6)]
    held: list[tuple[SlotQuota, int, bool]] = []
    for number, width, is_ending in events:
        quota = quotas[number]
        if is_ending and held:
            owner, given_width, is_reserved = held.pop(0)
            slots.free(owner, given_width, is_reserved=is_reserved)
        elif slots.is_common_free(width):
            slots.take(quota, width, is_reserved=False)
            held.append((quota, width, False))
        elif slots.is_reserve_free(quota, width):
            assert quota.num_slots == quota.num_reserved
            slots.take(quota, width, is_reserved=True)
            held.append((quota, width, True))
        assert slots.num_taken == sum(width for _, width, _ in held) == sum(quota.num_slots for quota in quotas)
        assert slots.num_taken <= num_slots
        assert sum(width for _, width, is_reserved in held if is_reserved) <= num_slots - slots.num_common


def test_an_eighth_of_eight_or_more_is_reserved() -> None:
    assert [SlotAllocator(number).num_common for number in (1, 7, 8, 64)] == [1, 7, 7, 56]
