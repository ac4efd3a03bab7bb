from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server.engine.places import Places

from runtime.padding import padded_length
from server.engine.translation.scheduler import Encode, Scheduler, Step, Text


class Driver:
    """Plays the engine: makes each call, and checks the laws that hold after every one."""

    def __init__(self, max_rows: int, encode_tokens: int = 256, encode_seconds: float = 1.0) -> None:
        self.max_rows, self.encode_tokens, self.encode_seconds = max_rows, encode_tokens, encode_seconds
        self.scheduler: Scheduler[int] = Scheduler(max_rows=max_rows, encode_tokens=encode_tokens, encode_share=0.5)
        self.texts: list[Text[int]] = []  # their owner is the number of steps that they need
        self.given: Counter[Text[int]] = Counter()
        self.encoded: set[Text[int]] = set()
        self.encoding: Encode[int] | None = None
        self.seconds_left = 0.0  # of the encode call
        self.cancelled: set[Text[int]] = set()
        self.last: list[Text[int]] = []
        self.calls = ""

    def add(self, num_tokens: int, width: int, num_steps: int, group: int | None = None) -> Text[int]:
        text = Text(
            num_steps, num_tokens, min(width, self.max_rows), len(self.texts) + 1000 if group is None else group
        )
        self.texts.append(text)
        self.scheduler.add(text)
        return text

    def cancel(self, text: Text[int]) -> None:
        if not text.is_over:
            self.cancelled.add(text)
        self.scheduler.cancel(text)

    def call(self) -> bool:
        """What happens while searches step once: an encode call may begin, and one may end."""
        call = self.scheduler.next_encode()
        if call is not None:
            assert self.encoding is None
            self.encoding, self.seconds_left = call, self.encode_seconds
            self.calls += "E"
            self.check_encode(call)
        step = self.scheduler.next_step()
        if step is None and self.encoding is None:
            return False
        if step is not None:
            self.calls += "S"
            self.check_step(step)
            self.scheduler.stepped(1.0)
            self.seconds_left -= 1
        if self.encoding is not None and (self.seconds_left <= 0 or step is None):
            call, self.encoding = self.encoding, None
            self.encoded |= set(call.texts)
            self.scheduler.encoded(call, self.encode_seconds)
        return True

    def check_encode(self, call: Encode[int]) -> None:
        assert call.texts
        assert not self.encoded & set(call.texts)
        assert not any(text.is_over for text in call.texts)
        lengths = [padded_length(text.num_tokens) for text in call.texts]
        assert len(lengths) == 1 or len(lengths) * max(lengths) <= self.encode_tokens
        assert max(lengths) < 2 * min(lengths)

    def check_step(self, call: Step[int]) -> None:
        num_continuing = len(call.texts) - call.num_joining
        assert set(call.texts[:num_continuing]) == {text for text in self.last if not text.is_over}
        assert len(set(call.texts)) == len(call.texts)
        assert set(call.texts) <= self.encoded
        assert not any(text.is_over for text in call.texts)
        assert not any(self.given[text] for text in call.texts[num_continuing:])
        assert sum(text.width for text in call.texts) == self.scheduler.num_running <= self.max_rows
        places, texts_of = Counter[object](), Counter[object]()
        for text in call.texts:
            places[text.group] += text.width
            texts_of[text.group] += 1
            self.given[text] += 1
        num_common = Places(self.max_rows).num_common
        for group, taken in places.items():
            assert taken <= num_common or texts_of[group] == 1
        common = [text.width for text in call.texts if not text.is_reserved]
        assert sum(common) <= num_common or len(common) == 1
        for group in {text.group for text in call.texts if text.is_reserved}:
            assert places[group] <= self.max_rows - num_common  # small
        self.last = call.texts
        for text in call.texts:
            if self.given[text] == text.owner:
                self.scheduler.finish(text)

    def run_to_the_end(self) -> None:
        while self.call():
            pass
        assert self.scheduler.num_running == self.scheduler.num_waiting == 0
        for text in self.texts:
            assert self.given[text] == text.owner or text in self.cancelled


TEXTS = st.tuples(st.integers(1, 200), st.integers(1, 16), st.integers(1, 9), st.sampled_from([None, None, 1, 2]))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(TEXTS, st.just("call"), st.integers(0, 30)), max_size=60),
    st.sampled_from([1, 2, 7, 16, 20, 64]),
    st.sampled_from([16, 64, 1000]),
    st.sampled_from([0.0, 0.7, 30.0]),
)
def test_every_text_is_encoded_and_stepped_once_whatever_joins_and_leaves(
    events: list[tuple[int, int, int, int | None] | str | int], max_rows: int, encode_tokens: int, seconds: float
) -> None:
    driver = Driver(max_rows, encode_tokens, seconds)
    for event in events:
        if isinstance(event, tuple):
            driver.add(*event)
        elif isinstance(event, str):
            driver.call()
        elif driver.texts:
            driver.cancel(driver.texts[event % len(driver.texts)])
    driver.run_to_the_end()


def test_a_wide_text_is_not_starved_by_narrow_ones() -> None:
    driver = Driver(16)
    for _ in range(16):
        driver.add(5, 1, 3)
    driver.call()
    wide = driver.add(5, 16, 2)
    for _ in range(40):
        driver.add(5, 1, 3)
        driver.call()
        if driver.given[wide]:
            break
    assert driver.given[wide]
    driver.run_to_the_end()


def test_a_long_source_is_not_starved_by_short_ones() -> None:
    driver = Driver(64, encode_tokens=64)
    for _ in range(10):
        driver.add(5, 1, 5)
    long = driver.add(900, 1, 1)
    for _ in range(60):
        driver.add(5, 1, 5)
        driver.call()
    assert driver.given[long]


@pytest.mark.parametrize("width", [1, 4, 16])
def test_a_small_request_joins_at_once_beside_a_giant_one(width: int) -> None:
    driver = Driver(64, 4096)
    for _ in range(64):
        driver.add(20, width, 500, group=1)
    for _ in range(20):
        driver.call()
    assert driver.scheduler.num_running == {1: 56, 4: 56, 16: 48}[width]
    small = driver.add(20, 4, 3, group=2)
    for _ in range(3):
        driver.call()
    assert driver.given[small]


@pytest.mark.parametrize("width", [1, 4, 16])
@pytest.mark.parametrize("num_giants", [2, 6])
def test_a_small_request_joins_at_once_beside_several_giant_ones(width: int, num_giants: int) -> None:
    driver = Driver(64, 4096)
    for giant in range(num_giants):
        for _ in range(64):
            driver.add(20, width, 500, group=100 + giant)
    for _ in range(40):
        driver.call()
    for number in range(5):
        small = driver.add(20, 4, 3, group=1000 + number)
        for _ in range(6):
            driver.call()
        assert driver.given[small]


def test_small_requests_fill_every_place() -> None:
    driver = Driver(64, 4096)
    for _ in range(30):
        driver.add(20, 4, 9)
    for _ in range(3):
        driver.call()
    assert driver.scheduler.num_running == 64


def test_encoding_and_stepping_share_the_time_and_waiting_sources_are_encoded_together() -> None:
    driver = Driver(64, 4096, encode_seconds=6)
    driver.add(10, 1, 1000)
    driver.call()
    for _ in range(60):
        driver.add(10, 1, 3)
        driver.call()
    assert "ESSSSSSE" in driver.calls
    assert driver.calls.count("E") < 12


def test_sources_are_encoded_ahead_for_one_batch_at_most() -> None:
    driver = Driver(8, 10_000, encode_seconds=0)
    for _ in range(100):
        driver.add(10, 4, 100, group=1)
    for _ in range(20):
        driver.call()
    assert len(driver.encoded) == 1 + 2  # one runs, for an eighth of the places is left to others; two are ahead


def test_a_text_that_is_wider_than_the_batch_is_refused() -> None:
    scheduler: Scheduler[int] = Scheduler(max_rows=4, encode_tokens=64, encode_share=0.5)
    with pytest.raises(ValueError, match="does not fit into 4 places"):
        scheduler.add(Text(1, 1, 5, 1))
