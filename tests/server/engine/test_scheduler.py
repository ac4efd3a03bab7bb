from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.generation.lane import GenerationScheduler
from server.engine.request import EngineRequest, ScheduledItem
from server.engine.scheduler import Row, Scheduler, SlotAllocator, SlotQuota
from server.engine.translation.lane import TranslationScheduler


@dataclass(eq=False, kw_only=True)
class Life(ScheduledItem):
    """An item and what happened to it."""

    chunks: list[tuple[int, int]] = field(default_factory=list)
    choices: list[int] = field(default_factory=list)
    is_cancelled: bool = False


def scheduler_of(kind: str, max_rows: int) -> Scheduler[Life]:
    if kind == "translation":
        return TranslationScheduler(num_slots=max_rows, encode_tokens=64, encode_share=0.5)
    return GenerationScheduler(
        num_slots=max_rows, prefill_tokens=64, prefill_share=0.5, prefill_max_rows=2, forced_tokens=20
    )


@settings(deadline=None)
@given(
    st.sampled_from(["generation", "translation"]),
    st.integers(1, 20),
    st.lists(
        st.tuples(
            st.integers(1, 100),
            st.integers(1, 5),
            st.integers(1, 16),
            st.integers(0, 4),
            st.integers(0, 3),
            st.booleans(),
        ),
        max_size=30,
    ),
)
def test_every_row_joins_once_within_the_slots_and_nothing_is_left(
    kind: str, max_rows: int, events: list[tuple[int, int, int, int, int, bool]]
) -> None:
    scheduler = scheduler_of(kind, max_rows)
    requests: list[EngineRequest[Any, Any]] = [EngineRequest() for _ in range(5)]
    items: list[Life] = []
    running: list[Row[Life]] = []

    def turn() -> bool:
        chunks = scheduler.next_prefill()
        for chunk in chunks:
            chunk.item.chunks.append((chunk.start, chunk.stop))
        if chunks:
            scheduler.prefilled(chunks, 1.0)
        joining = scheduler.join()
        for row in joining:
            row.item.choices.append(row.choice)
        running.extend(joining)
        assert scheduler.num_running == sum(row.item.width for row in running) <= max_rows
        scheduler.decoded(0.7)
        is_done = not chunks and not running
        if running:
            scheduler.finish(running.pop(0))
        return not is_done

    for num_tokens, num_rows, width, group, num_turns, is_cancelled in events:
        is_wide = kind == "translation"
        item = Life(
            request=requests[group],
            num_prefill=num_tokens,
            num_rows=1 if is_wide else num_rows,
            width=min(width, max_rows) if is_wide else 1,
            needs_prefill=is_wide or num_rows > 1,
        )
        items.append(item)
        scheduler.add(item)
        for _ in range(num_turns):
            turn()
        if is_cancelled:
            victim = items[len(items) // 2]
            victim.is_cancelled |= not victim.is_over
            for row in scheduler.cancel(victim):
                running.remove(row)
            assert scheduler.cancel(victim) == []
    while turn():
        pass
    assert (scheduler.num_running, scheduler.num_waiting) == (0, 0)
    assert not scheduler._groups
    for item in items:
        assert item.is_over
        assert item.is_cancelled or item.choices == list(range(item.num_rows))
        assert all(stop == start for (_, stop), (start, _) in zip(item.chunks, item.chunks[1:], strict=False))


def test_a_small_request_joins_at_once_beside_a_giant_one() -> None:
    scheduler = scheduler_of("generation", 64)
    giant: EngineRequest[Any, Any] = EngineRequest()
    for _ in range(100):
        scheduler.add(Life(request=giant, num_prefill=0))
    assert len(scheduler.join()) == 43
    small = Life(request=EngineRequest(), num_prefill=0)
    scheduler.add(small)
    assert [row.item for row in scheduler.join()] == [small]


def test_a_row_that_is_wider_than_the_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="width 9"):
        scheduler_of("translation", 8).add(Life(request=EngineRequest(), num_prefill=1, width=9))


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
            slots.take(owner, -given_width, is_reserved=is_reserved)
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


def test_a_third_of_eight_or_more_is_reserved_for_requests_of_few_rows() -> None:
    assert [SlotAllocator(number).num_common for number in (1, 7, 8, 48)] == [1, 7, 6, 32]
    slots = SlotAllocator(48)
    assert slots.is_reserve_free(SlotQuota(), 4)
    assert not slots.is_reserve_free(SlotQuota(), 5)


def test_prompts_that_were_begun_end_first_and_short_ones_do_not_wait_for_them() -> None:
    """Read in turn, 64 prompts of the greatest length would all end at the same moment, past their deadlines."""
    scheduler = GenerationScheduler[Life](
        num_slots=64, prefill_tokens=512, prefill_share=0.5, prefill_max_rows=0, forced_tokens=20
    )
    long = [Life(request=EngineRequest(), num_prefill=32_000) for _ in range(64)]
    for item in long:
        scheduler.add(item)
    ended: list[Life] = []

    def calls(number: int) -> int:
        """Make so many prefill calls; how many prompts have been read."""
        for _ in range(number):
            chunks = scheduler.next_prefill()
            assert sum(chunk.stop - chunk.start for chunk in chunks) <= 512
            scheduler.prefilled(chunks, 1.0)
            scheduler.decoded(1.0)
            for row in scheduler.join():
                scheduler.finish(row)
            ended.extend(chunk.item for chunk in chunks if chunk.stop == chunk.item.num_prefill)
        return len(ended)

    assert calls(1000) == 16
    assert set(ended) == set(long[:16])
    short = Life(request=EngineRequest(), num_prefill=100)
    scheduler.add(short)
    calls(4)
    assert short in ended
    for _ in range(4000):  # short prompts without end do not keep the long ones from theirs
        scheduler.add(Life(request=EngineRequest(), num_prefill=100))
        calls(1)
        if set(long[:24]) <= set(ended):
            break
    else:
        raise AssertionError("the long prompts starve")
