from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.generation.scheduler import GenerationScheduler
from server.engine.scheduler import Row, Scheduler, Sequence
from server.engine.translation.scheduler import TranslationScheduler


@dataclass(eq=False)
class Life:
    """What happened to one sequence."""

    chunks: list[tuple[int, int]] = field(default_factory=list)
    choices: list[int] = field(default_factory=list)
    is_cancelled: bool = False


def scheduler_of(kind: str, max_rows: int) -> Scheduler[Life]:
    if kind == "translation":
        return TranslationScheduler(max_rows=max_rows, encode_tokens=64, encode_share=0.5)
    return GenerationScheduler(max_rows=max_rows, prefill_tokens=64, prefill_share=0.5, light_rows=2, forced_tokens=20)


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
    sequences: list[Sequence[Life]] = []
    running: list[Row[Life]] = []

    def turn() -> bool:
        chunks = scheduler.next_prefill()
        for chunk in chunks:
            chunk.sequence.owner.chunks.append((chunk.start, chunk.stop))
        if chunks:
            scheduler.prefilled(chunks, 1.0)
        joining = scheduler.join()
        for row in joining:
            row.sequence.owner.choices.append(row.choice)
        running.extend(joining)
        assert scheduler.num_running == sum(row.sequence.width for row in running) <= max_rows
        scheduler.decoded(0.7)
        is_done = not chunks and not running
        if running:
            scheduler.finish(running.pop(0))
        return not is_done

    for num_tokens, num_rows, width, group, num_turns, is_cancelled in events:
        is_wide = kind == "translation"
        sequence = Sequence(
            Life(),
            num_tokens,
            group,
            num_rows=1 if is_wide else num_rows,
            width=min(width, max_rows) if is_wide else 1,
            needs_prefill=is_wide or num_rows > 1,
        )
        sequences.append(sequence)
        scheduler.add(sequence)
        for _ in range(num_turns):
            turn()
        if is_cancelled:
            victim = sequences[len(sequences) // 2]
            victim.owner.is_cancelled |= not victim.is_over
            for row in scheduler.cancel(victim):
                running.remove(row)
            assert scheduler.cancel(victim) == []
    while turn():
        pass
    assert (scheduler.num_running, scheduler.num_waiting) == (0, 0)
    assert not scheduler._groups
    for sequence in sequences:
        life = sequence.owner
        assert sequence.is_over
        assert life.is_cancelled or life.choices == list(range(sequence.num_rows))
        assert all(stop == start for (_, stop), (start, _) in zip(life.chunks, life.chunks[1:], strict=False))


def test_a_small_request_joins_at_once_beside_a_giant_one() -> None:
    scheduler = scheduler_of("generation", 64)
    for _ in range(100):
        scheduler.add(Sequence(Life(), 1, "giant"))
    assert len(scheduler.join()) == 56
    small = Sequence(Life(), 1, "small")
    scheduler.add(small)
    assert [row.sequence for row in scheduler.join()] == [small]


def test_a_row_that_is_wider_than_the_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="width 9"):
        scheduler_of("translation", 8).add(Sequence(Life(), 1, 1, width=9))
