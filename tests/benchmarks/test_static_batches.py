"""Both ways to answer, beside each other: what differs may only be the schedule."""

from pathlib import Path

from benchmarks.generation_in_process import in_process
from benchmarks.generation_workload import MODEL, w1
from benchmarks.serving.loops import run
from benchmarks.static_batches import StaticBatches
from models.bundle import Bundle
from models.store import Store

STORE = Path(__file__).parents[2] / "artifacts"
BUNDLE = Bundle(Store(STORE).resolve(MODEL))


def test_a_static_batch_answers_as_the_engine_does() -> None:
    asks = [w1(BUNDLE, 0).ask(number) for number in range(6)]
    texts = StaticBatches(BUNDLE, "int8", 6).answer(asks)

    async def by_the_engine() -> list[str]:
        async with in_process(STORE, MODEL, "int8", 0) as engine:
            return [(await engine.answer(ask, seed)).text for seed, ask in enumerate(asks)]

    assert texts == run(by_the_engine())
    assert [len(text) for text in texts] == [ask.max_tokens for ask in asks]


def test_all_of_a_static_batch_are_answered_together() -> None:
    asks = [w1(BUNDLE, 0).ask(number) for number in range(6)]
    records = StaticBatches(BUNDLE, "int8", 3).closed_loop(asks, 3)
    assert [record.output_tokens for record in records] == [ask.max_tokens for ask in asks]
    assert len({record.end for record in records}) == 2
    assert records[3].scheduled >= records[2].end


def test_callers_of_the_engine_ask_again_and_no_more_than_asked_for_are_inside() -> None:
    async def load() -> tuple[int, int]:
        async with in_process(STORE, MODEL, "int8", 0) as engine:
            all_together = await engine.closed_loop(w1(BUNDLE, 0).ask, 4, 0.3, 0.0)
            one = await engine.closed_loop(w1(BUNDLE, 0).ask, 4, 0.3, 0.0, at_once=1)
            ends = [record.end for record in one]
            assert ends == sorted(ends)
            return len(all_together), len(one)

    together, one = run(load())
    assert together > 0
    assert one > 0
