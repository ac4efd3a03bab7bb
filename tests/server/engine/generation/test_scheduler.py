from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server.engine.places import Places

from server.engine.generation.scheduler import CHUNK, Change, Chunk, Prefill, Row, Scheduler, Sequence, Step


@dataclass(eq=False)
class Life:
    """What happened to one sequence: the chunks that were read, and the tokens that each choice was given."""

    num_tokens: int
    lengths: list[int]  # tokens wanted of each choice
    chunks: list[Chunk["Life"]] = field(default_factory=list)
    given: dict[int, int] = field(default_factory=dict)
    is_cancelled: bool = False


class Driver:
    """Plays the engine: makes each call, and checks the laws that hold after every one."""

    def __init__(self, max_rows: int, prefill_tokens: int, prefill_seconds: float = 0.0) -> None:
        self.max_rows, self.prefill_tokens = max_rows, prefill_tokens
        self.prefill_seconds = prefill_seconds  # what a prefill call costs, when a step costs 1
        self.scheduler: Scheduler[Life] = Scheduler(max_rows=max_rows, prefill_tokens=prefill_tokens, prefill_share=0.5)
        self.sequences: list[Sequence[Life]] = []
        self.last_rows: list[Row[Life]] = []  # in the slots that the last step left them in
        self.reading: Prefill[Life] | None = None
        self.seconds_left = 0.0  # of the call that reads
        self.gone: set[Row[Life]] = set()
        self.calls: list[str] = []

    def add(self, num_tokens: int, lengths: Iterable[int], group: int | None = None) -> Sequence[Life]:
        """Add a sequence of a request, or as a request of its own."""
        life = Life(num_tokens, list(lengths))
        sequence = Sequence(life, num_tokens, len(life.lengths), life if group is None else group)
        self.sequences.append(sequence)
        self.scheduler.add(sequence)
        return sequence

    def cancel(self, sequence: Sequence[Life]) -> None:
        self.scheduler.cancel(sequence)
        sequence.owner.is_cancelled = True
        self.gone.update(row for row in self.last_rows if row.sequence is sequence)

    def call(self) -> bool:
        """What happens while rows step once: a reading call may begin, and one may end."""
        can_step = bool(self.scheduler.num_running)
        call = self.scheduler.next_prefill()
        if call is not None:
            assert self.reading is None
            self.reading, self.seconds_left = call, self.prefill_seconds
            self.calls.append("Prefill")
            self.check_prefill(call)
        step = self.scheduler.next_step()
        if step is None and self.reading is None:
            return False
        if step is not None:
            self.calls.append("Step")
            self.check_step(step)
            self.scheduler.stepped(1.0)
            self.seconds_left -= 1
        assert step is not None or not can_step
        if self.reading is not None and (self.seconds_left <= 0 or step is None):
            self.end_reading(self.reading)
        return True

    def end_reading(self, call: Prefill[Life]) -> None:
        self.reading = None
        for chunk in call.chunks:
            if not chunk.sequence.owner.is_cancelled:
                chunk.sequence.owner.chunks.append(chunk)
        self.scheduler.read(call, self.prefill_seconds)

    def check_prefill(self, call: Prefill[Life]) -> None:
        assert call.chunks
        assert sum(chunk.stop - chunk.start for chunk in call.chunks) <= self.prefill_tokens
        assert len({id(chunk.sequence) for chunk in call.chunks}) == len(call.chunks)
        for chunk in call.chunks:
            life = chunk.sequence.owner
            assert not life.is_cancelled
            assert chunk.start == (life.chunks[-1].stop if life.chunks else 0)
            assert chunk.start % CHUNK == 0
            assert chunk.stop == min(chunk.start + CHUNK, life.num_tokens - 1)
            assert chunk.stop > chunk.start

    def check_step(self, call: Step[Life]) -> None:
        assert 1 <= len(call.rows) <= self.max_rows
        assert len(set(call.rows)) == len(call.rows)
        sources: list[int | None] = list(range(len(call.rows)))
        for place, source in call.changes:
            assert source is None or place < source < len(self.last_rows)  # only gaps are filled
            sources[place] = source
        staying = [row for row in self.last_rows if row not in self.gone]
        assert {row for row, source in zip(call.rows, sources, strict=True) if source is not None} == set(staying)
        for place, (row, source) in enumerate(zip(call.rows, sources, strict=True)):
            life = row.sequence.owner
            assert not life.is_cancelled
            assert row.place == place
            assert source is None or self.last_rows[source] is row
            if source is None:
                assert row.choice not in life.given  # joins once
                assert (life.chunks[-1].stop if life.chunks else 0) == life.num_tokens - 1
            life.given[row.choice] = life.given.get(row.choice, 0) + 1
        num_rows = Counter(row.sequence.group for row in call.rows)
        assert max(num_rows.values()) <= Places(self.max_rows).num_common
        assert sum(not row.is_reserved for row in call.rows) <= Places(self.max_rows).num_common
        for group in {row.sequence.group for row in call.rows if row.is_reserved}:
            assert num_rows[group] <= self.max_rows - Places(self.max_rows).num_common  # small
        self.last_rows, self.gone = list(call.rows), set()
        for row in call.rows:
            if row.sequence.owner.given[row.choice] == row.sequence.owner.lengths[row.choice]:
                self.scheduler.finish(row)
                self.gone.add(row)

    def run_to_the_end(self) -> None:
        while self.call():
            pass
        assert self.scheduler.num_running == 0
        assert self.scheduler.num_waiting == 0
        for sequence in self.sequences:
            life = sequence.owner
            if not life.is_cancelled:
                assert life.given == dict(enumerate(life.lengths))  # no row lost, none given too much


PROMPTS = st.tuples(
    st.sampled_from([1, 2, 3, 31, 32, 33, 34, 64, 65, 66, 200]),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.sampled_from([None, 1, 2]),
)
EVENTS = st.lists(st.one_of(PROMPTS, st.just("call"), st.integers(0, 20)), max_size=60)


@settings(max_examples=300, deadline=None)
@given(EVENTS, st.integers(1, 12), st.sampled_from([32, 33, 64, 100, 256]), st.sampled_from([0.0, 0.5, 3.7, 50.0]))
def test_every_row_is_served_once_whatever_joins_and_leaves(
    events: list[tuple[int, list[int], int | None] | str | int],
    max_rows: int,
    prefill_tokens: int,
    prefill_seconds: float,
) -> None:
    driver = Driver(max_rows, prefill_tokens, prefill_seconds)
    for event in events:
        if isinstance(event, tuple):
            driver.add(*event)
        elif isinstance(event, int):
            if driver.sequences:
                driver.cancel(driver.sequences[event % len(driver.sequences)])
        else:
            driver.call()
    driver.run_to_the_end()


@settings(deadline=None)
@given(st.lists(PROMPTS, min_size=1, max_size=20), st.integers(1, 12), st.sampled_from([1.0, 4.0, 50.0]))
def test_rows_step_on_while_prompts_are_read(
    prompts: list[tuple[int, list[int], int | None]], max_rows: int, seconds: float
) -> None:
    driver = Driver(max_rows, 32, seconds)
    decoding = driver.add(1, [200])
    for prompt in prompts:
        driver.add(*prompt)
    for number in range(1, 201):
        driver.call()
        assert decoding.owner.given[0] == number
    driver.run_to_the_end()


def test_reading_has_its_share_and_waiting_prompts_are_read_together() -> None:
    driver = Driver(32, 256, prefill_seconds=6)
    driver.add(1, [1000])
    for _ in range(60):
        driver.add(33, [1000] if _ < 20 else [1])
        driver.call()
    calls = "".join(name[0] for name in driver.calls)
    assert "P" + 12 * "S" + "P" in calls  # six beside it, six after it
    assert "P" + 13 * "S" not in calls.rstrip("S")  # prefill waits no longer than its due
    assert calls.count("P") < 8  # several prompts to a call


@pytest.mark.parametrize("staying_rows", [1, 3])
def test_a_sequence_that_is_cancelled_while_it_is_read_leaves_nothing_behind(staying_rows: int) -> None:
    driver = Driver(4, 256, prefill_seconds=3)
    driver.add(1, [50])
    leaving, staying = driver.add(100, [5, 5], group=1), driver.add(100, [5] * staying_rows, group=1)
    alone = driver.add(70, [5], group=2)
    driver.call()
    assert driver.reading is not None
    driver.cancel(leaving)
    driver.cancel(alone)
    driver.run_to_the_end()
    assert not leaving.owner.given
    assert not alone.owner.given
    assert staying.owner.given == dict.fromkeys(range(staying_rows), 5)


def test_a_short_prompt_does_not_wait_behind_a_long_one() -> None:
    driver = Driver(4, 32)
    driver.add(32_000, [1])
    driver.call()
    short = driver.add(10, [1])
    num_calls = 0
    while not short.owner.given:
        driver.call()
        num_calls += 1
    assert num_calls <= 3


def test_a_long_prompt_is_not_starved_by_short_ones() -> None:
    driver = Driver(4, 32)
    long = driver.add(10 * CHUNK + 1, [1])
    for _ in range(300):
        driver.add(33, [1])
        driver.call()
        if long.owner.given:
            break
    assert long.owner.given


def test_rows_beyond_the_cap_wait_in_order() -> None:
    driver = Driver(2, 256)
    sequences = [driver.add(1, [3]) for _ in range(5)]
    order = []
    while driver.call():
        order += [s for s in sequences if s.owner.given and s not in order]
    assert order == sequences


@pytest.mark.parametrize("num_tokens", [1, 40])
def test_a_small_request_joins_at_once_beside_a_giant_one(num_tokens: int) -> None:
    driver = Driver(16, 512)
    for _ in range(64):
        driver.add(num_tokens, [4096] * 16, group=1)
    for _ in range(20):
        driver.call()
    assert driver.scheduler.num_running == 14  # an eighth is left to others
    small = driver.add(num_tokens, [3], group=2)
    for _ in range(2 + num_tokens // CHUNK * 2):
        driver.call()
    assert small.owner.given


@pytest.mark.parametrize("num_samples", [1, 16])
@pytest.mark.parametrize("num_giants", [2, 6])
def test_a_small_request_joins_at_once_beside_several_giant_ones(num_samples: int, num_giants: int) -> None:
    driver = Driver(64, 4096)
    for giant in range(num_giants):
        for _ in range(64):
            driver.add(1, [500] * num_samples, group=100 + giant)
    for _ in range(40):
        driver.call()
    for number in range(5):
        small = driver.add(1, [3, 3], group=1000 + number)
        for _ in range(4):
            driver.call()
        assert len(small.owner.given) == 2


def test_small_requests_fill_every_place() -> None:
    driver = Driver(64, 4096)
    for _ in range(80):
        driver.add(1, [9])
    driver.call()
    assert driver.scheduler.num_running == 64


def test_a_free_place_goes_to_the_request_with_the_fewest_running_rows() -> None:
    driver = Driver(16, 512)
    giants = [driver.add(1, [5 + i % 7 for i in range(128)], group=group) for group in (1, 2)]
    for _ in range(20):
        driver.call()
    small = [driver.add(1, [50], group=3 + i) for i in range(3)]
    while not all(sequence.owner.given for sequence in small):
        driver.call()
    assert sum(len(giant.owner.given) for giant in giants) < 80  # most of their rows still wait
    for _ in range(10):
        driver.call()
    num_rows = Counter(row.sequence.group for row in driver.last_rows)
    assert abs(num_rows[1] - num_rows[2]) <= 3
    driver.run_to_the_end()


def test_prompts_of_requests_are_read_in_turn() -> None:
    driver = Driver(64, 32)
    for _ in range(40):
        driver.add(33, [9], group=1)
    driver.call()
    other = driver.add(33, [9], group=2)
    while not other.owner.chunks:
        driver.call()
    assert driver.calls.count("Prefill") <= 3


def test_a_prompt_with_more_samples_than_places_is_read_once() -> None:
    driver = Driver(3, 256)
    sequence = driver.add(40, [2] * 16)
    driver.run_to_the_end()
    assert [(chunk.start, chunk.stop) for chunk in sequence.owner.chunks] == [(0, 32), (32, 39)]


def test_states_are_made_ahead_for_one_batch_at_most() -> None:
    driver = Driver(4, 1000)
    for _ in range(50):
        driver.add(20, [100])
    for _ in range(30):
        driver.call()
    assert sum(bool(sequence.owner.chunks) for sequence in driver.sequences) <= 4 + 4


def test_a_step_says_what_has_changed() -> None:
    scheduler: Scheduler[None] = Scheduler(max_rows=4, prefill_tokens=32, prefill_share=0.5)
    scheduler.add(Sequence(None, 1, 3, 0))
    first, second = scheduler.next_step(), scheduler.next_step()
    assert isinstance(first, Step)
    assert isinstance(second, Step)
    assert first.changes == [Change(0, None), Change(1, None), Change(2, None)]
    assert (second.changes, second.rows) == ([], first.rows)
    scheduler.finish(second.rows[0])
    third = scheduler.next_step()
    assert isinstance(third, Step)
    assert (third.changes, third.rows) == ([Change(0, 2)], [first.rows[2], first.rows[1]])
    scheduler.finish(third.rows[0])
    scheduler.add(Sequence(None, 1, 1, 1))
    fourth = scheduler.next_step()
    assert isinstance(fourth, Step)
    assert (fourth.changes, fourth.rows[1]) == ([Change(0, None)], first.rows[1])


def test_cancelling_twice_or_after_the_end_does_nothing() -> None:
    driver = Driver(2, 32)
    sequence = driver.add(1, [1])
    driver.run_to_the_end()
    driver.scheduler.cancel(sequence)
    driver.scheduler.cancel(sequence)
    assert (driver.scheduler.num_running, driver.scheduler.num_waiting) == (0, 0)


@pytest.mark.parametrize(("max_rows", "prefill_tokens", "share"), [(0, 32, 0.5), (1, 31, 0.5), (1, 32, 0), (1, 32, 1)])
def test_sizes_that_cannot_work_are_refused(max_rows: int, prefill_tokens: int, share: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        Scheduler[None](max_rows=max_rows, prefill_tokens=prefill_tokens, prefill_share=share)
