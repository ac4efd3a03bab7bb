from hypothesis import given
from hypothesis import strategies as st
from server.engine.sentiment.scheduler import Scheduler, Text

from runtime.padding import padded_length

TEXTS = st.tuples(st.integers(1, 500), st.integers(0, 4))


@given(
    st.lists(st.one_of(TEXTS, st.just("call"), st.just("cancel")), max_size=60),
    st.integers(1, 20),
    st.sampled_from([16, 100, 4096]),
)
def test_every_text_is_in_one_call_within_the_budget_and_cancelled_ones_in_none(
    events: list[tuple[int, int] | str], max_rows: int, budget: int
) -> None:
    scheduler: Scheduler[int] = Scheduler(max_rows=max_rows, classify_tokens=budget)
    texts: list[Text[int]] = []
    seen: list[Text[int]] = []
    cancelled: list[Text[int]] = []

    def call() -> bool:
        found = scheduler.schedule()
        if found is None:
            return False
        padded = [padded_length(text.num_tokens) for text in found.texts]
        assert len(padded) == 1 or len(padded) * max(padded) <= budget
        assert len(padded) <= max_rows
        seen.extend(found.texts)
        return True

    for event in events:
        if isinstance(event, tuple):
            texts.append(Text(len(texts), *event))
            scheduler.add(texts[-1])
        elif event == "call":
            call()
        elif texts and texts[len(texts) // 2] not in seen:
            cancelled.append(texts[len(texts) // 2])
            scheduler.cancel(cancelled[-1])
    while call():
        pass
    assert scheduler.num_waiting == 0
    assert len(set(seen)) == len(seen)
    assert set(seen) == set(texts) - set(cancelled)


def test_a_long_text_is_not_starved_by_short_ones() -> None:
    scheduler: Scheduler[int] = Scheduler(max_rows=4, classify_tokens=64)
    for i in range(10):
        scheduler.add(Text(i, 5, i))
    long = Text(99, 5000, 99)
    scheduler.add(long)
    for i in range(20):
        scheduler.add(Text(100 + i, 5, 100 + i))
        call = scheduler.schedule()
        assert call is not None
        if long in call.texts:
            assert call.texts == [long]
            return
    raise AssertionError("the long text was passed by")
