from hypothesis import given
from hypothesis import strategies as st

from runtime.padding import padded_length
from server.engine.classification.request import Text, TextBatch
from server.engine.classification.scheduler import ENOUGH, ClassificationScheduler

TEXTS = st.tuples(st.integers(1, 500), st.integers(0, 4))


@given(
    st.lists(st.one_of(TEXTS, st.just("call"), st.just("short"), st.just("cancel")), max_size=60),
    st.integers(1, 20),
    st.sampled_from([16, 100, 4096]),
)
def test_every_text_is_in_one_call_within_the_budget_and_cancelled_ones_in_none(
    events: list[tuple[int, int] | str], max_rows: int, budget: int
) -> None:
    scheduler = ClassificationScheduler(max_texts=max_rows, max_tokens=budget, long_tokens=128)
    requests = [TextBatch() for _ in range(5)]
    texts: list[Text] = []
    seen: list[Text] = []
    cancelled: list[Text] = []

    def call(*, only_short: bool = False) -> bool:
        found = scheduler.next_call(only_short=only_short)
        if not found:
            return False
        padded = [padded_length(len(text.tokens)) for text in found]
        assert len(padded) <= max_rows
        if only_short:
            assert not scheduler.is_long(found)
        else:
            assert len(padded) == 1 or len(padded) * max(padded) <= budget
        seen.extend(found)
        return True

    for event in events:
        if isinstance(event, tuple):
            texts.append(Text(requests[event[1]], [1] * event[0], 0))
            scheduler.add(texts[-1])
        elif event in ("call", "short"):
            call(only_short=event == "short")
        elif texts and texts[len(texts) // 2] not in seen:
            cancelled.append(texts[len(texts) // 2])
            scheduler.cancel(cancelled[-1])
    while call():
        pass
    assert scheduler.num_waiting == 0
    assert len(set(seen)) == len(seen)
    assert set(seen) == set(texts) - set(cancelled)


def test_a_long_text_is_not_starved_by_short_ones() -> None:
    scheduler = ClassificationScheduler(max_texts=4, max_tokens=64, long_tokens=1024)
    for _ in range(10):
        scheduler.add(Text(TextBatch(), [1] * 5, 0))
    long = Text(TextBatch(), [1] * 5000, 0)
    scheduler.add(long)
    for _ in range(20):
        scheduler.add(Text(TextBatch(), [1] * 5, 0))
        call = scheduler.next_call()
        if long in call:
            assert call == [long]
            return
    raise AssertionError("the long text was passed by")


def test_a_small_call_waits_for_another_that_is_about_as_short_but_never_for_a_long_one() -> None:
    def waiting(count: int, length: int) -> ClassificationScheduler:
        scheduler = ClassificationScheduler(max_texts=64, max_tokens=1 << 20, long_tokens=1 << 20)
        for _ in range(count):
            scheduler.add(Text(TextBatch(), [1] * length, 0))
        return scheduler

    short, long = [Text(TextBatch(), [1] * 30, 0)], [Text(TextBatch(), [1] * 500, 0)]
    assert len(waiting(3, 30).next_call()) == 3
    assert len(waiting(3, 30).next_call([short * 3])) == 3, "as many as the other call has"
    assert waiting(3, 30).next_call([short * 4]) == []
    assert waiting(3, 300).next_call([short * 4]) == [], "the other call ends long before this one would"
    assert len(waiting(3, 30).next_call([long * 40])) == 3, "it would wait too long"
    assert len(waiting(ENOUGH, 30).next_call([short * 40])) == ENOUGH
    assert waiting(3, 30).next_call([long, short * 4]) == []
