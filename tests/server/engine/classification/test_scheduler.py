from hypothesis import given
from hypothesis import strategies as st

from runtime.padding import padded_length
from server.engine.classification.request import Text, TextBatch
from server.engine.classification.scheduler import ClassificationScheduler

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
