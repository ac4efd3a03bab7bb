import asyncio
import gc
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest

from models.decoding.options import TranslationOptions
from server.errors import EngineError, UnavailableError
from tests.server.engine.translation.harness import VOCAB_SIZE, Rig, answer, rig, same

UNENDING: dict[str, Any] = {"max_tokens": 1000, "length_penalty": 5.0, "beam_size": 2}


def some_options(rng: np.random.Generator, most: int = 16, most_tokens: int | None = None) -> dict[str, Any]:
    beam_size = min(int(rng.choice([1, 1, 1, 2, 4, 4, 7, 16])), most)
    drawing: dict[str, Any] = {}
    if beam_size == 1 and rng.random() < 0.6:
        drawing = {"temperature": float(rng.choice([0.5, 2])), "seed": int(rng.integers(99))}
        drawing |= {"top_k": int(rng.integers(0, 9))} if rng.random() < 0.3 else {}
        drawing |= {"top_p": float(rng.uniform(0.3, 1))} if rng.random() < 0.3 else {}
    return drawing | {
        "beam_size": beam_size,
        "length_penalty": float(rng.choice([0, 1, 2.5])),
        "coverage_penalty": float(rng.choice([0, 0, 0.4])),
        "alternatives": int(rng.integers(0, beam_size)),
        "max_tokens": int(rng.integers(1, most_tokens or 30)) if most_tokens or rng.random() < 0.8 else None,
    }


def some_source(rng: np.random.Generator) -> list[int]:
    length = int(rng.choice([1, 2, 5, 14, 15, 16, 17, 31, 32, 50]))
    tokens: list[int] = rng.integers(1, VOCAB_SIZE, length).tolist()
    return tokens


@pytest.mark.parametrize(
    "setting",
    [
        {"max_rows": 1, "encode_tokens": 16, "max_steps": 1},
        {"max_rows": 17, "encode_tokens": 64, "num_lanes": 2, "max_steps": 4},
        {"max_rows": 64, "encode_tokens": 1024},
        {"max_rows": 17, "has_decoder": False, "max_steps": 2},
        {"max_rows": 17, "has_beam_decoder": False, "num_lanes": 2},
    ],
)
def test_mixed_requests_are_the_same_alone_and_together_streamed_and_whole(setting: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)

    async def main() -> None:
        async with rig(**setting) as running:
            max_rows = setting["max_rows"]
            tasks = []
            for _ in range(48):
                sources = [some_source(rng) for _ in range(rng.choice([1, 1, 4]))]
                options = some_options(rng, max_rows)
                is_streamed = options["beam_size"] == 1 and bool(rng.random() < 0.5)
                translation = running.submit(*sources, is_streamed=is_streamed, **options)
                tasks.append((asyncio.create_task(answer(translation)), sources, options))
                await asyncio.sleep(float(rng.choice([0, 0, 0.001])))
            for task, sources, options in tasks:
                same(await task, sources, TranslationOptions(**options))
            await running.until_idle()
            assert max(
                num_rows for opened in running.sets for num_rows in [0, *opened.attention_step_runner.num_rows]
            ) <= (max_rows)

    asyncio.run(main())


def test_cancelled_requests_never_affect_batch_mates_and_free_their_rows() -> None:
    rng = np.random.default_rng(1)

    async def main() -> None:
        async with rig(max_rows=20) as running:
            staying, leaving = [], []
            for _ in range(60):
                sources, options = [some_source(rng) for _ in range(rng.choice([1, 3]))], some_options(rng)
                translation = running.submit(*sources, **options)
                if rng.random() < 0.5:
                    leaving.append(translation)
                else:
                    staying.append((asyncio.create_task(answer(translation)), sources, options))
                await asyncio.sleep(0.0005)
                if leaving and rng.random() < 0.7:
                    running.engine.cancel(leaving[rng.integers(len(leaving))])
            for translation in leaving:
                running.engine.cancel(translation)
            for task, sources, options in staying:
                same(await task, sources, TranslationOptions(**options))
            await running.until_idle()

    asyncio.run(main())


def test_a_cancelled_request_takes_part_in_no_step_after_the_one_that_runs() -> None:
    async def main() -> None:
        async with rig(max_steps=1, has_beam_decoder=False) as running:
            running.opened.attention_step_runner.gate = threading.Event()
            first = running.submit([1], **UNENDING)
            second = running.submit([2, 3], beam_size=4, max_tokens=12)
            await running.until_running(2)
            running.engine.cancel(first)
            running.opened.release()
            same(await answer(second), [[2, 3]], TranslationOptions(beam_size=4, max_tokens=12))
            assert max(running.opened.attention_step_runner.num_rows[1:]) <= 4

    asyncio.run(main())


def test_a_few_sources_that_wait_are_encoded_in_one_call() -> None:
    async def main() -> None:
        async with rig(max_rows=64, encode_tokens=1024) as running:
            await answer(running.submit([1] * 3, [1] * 40, [1] * 9, [1] * 33, beam_size=1, max_tokens=1))
            assert running.opened.sequence_runner.calls == [(4, 10, 34, 41)]
            assert running.counts.prefilled_tokens == 4 + 10 + 34 + 41

    asyncio.run(main())


def test_a_request_with_64_wide_beams_does_not_keep_a_small_one_waiting() -> None:
    async def main() -> None:
        async with rig(max_rows=64, encode_tokens=1024, has_beam_decoder=False) as running:
            running.opened.slow_down(0.0005)
            giant = running.submit(
                *[[1 + i % 9] * (1 + i % 30) for i in range(64)], beam_size=16, max_tokens=60, length_penalty=5
            )
            waiting = asyncio.create_task(answer(giant))
            await running.until_running(32)  # a third of the slots is reserved
            before = len(running.opened.attention_step_runner.num_rows)
            await answer(running.submit([2, 3, 4], beam_size=4, max_tokens=5))
            assert (
                len(running.opened.attention_step_runner.num_rows) - before < 50
            )  # of 60: not even one of the giant's texts has to end for it
            assert not waiting.done()
            await waiting

    asyncio.run(main())


FAILING = 7  # tokens of a source, its end token counted


@pytest.mark.parametrize("has_beam_decoder", [True, False])
def test_a_failed_call_fails_the_requests_in_it_and_no_others(has_beam_decoder: bool) -> None:
    async def main() -> None:
        async with rig(
            max_rows=12 if has_beam_decoder else 10, max_steps=1, has_beam_decoder=has_beam_decoder
        ) as running:
            running.opened.fail_at(FAILING)
            gate = threading.Event()
            for runner in (running.opened.attention_step_runner, *running.opened.beam_runners.values()):
                runner.gate = gate
            mate = running.submit([1], beam_size=4 if has_beam_decoder else 3, max_tokens=100)
            bad = running.submit([1] * (FAILING - 1), beam_size=4)
            later = running.submit([3] * 20, [4], beam_size=4, max_tokens=9)  # no places are left
            await running.until_running(3)
            running.opened.release()
            for translation in (mate, bad):
                with pytest.raises(EngineError):
                    await answer(translation)
            same(await answer(later), [[3] * 20, [4]], TranslationOptions(beam_size=4, max_tokens=9))
            await running.until_idle()

    asyncio.run(main())


@pytest.mark.parametrize("has_beam_decoder", [True, False])
def test_failed_calls_take_no_slots_from_later_requests(has_beam_decoder: bool) -> None:
    async def main() -> None:
        async with rig(max_rows=2, has_beam_decoder=has_beam_decoder) as running:
            running.opened.fail_at(FAILING)
            for _ in range(5):  # of four slots
                with pytest.raises(EngineError):
                    await answer(running.submit([1] * (FAILING - 1), beam_size=2))
            same(await answer(running.submit([3], beam_size=2)), [[3]], TranslationOptions(beam_size=2))

    asyncio.run(main())


def test_windows_count_hypotheses_and_the_steps_that_were_made() -> None:
    async def main() -> None:
        async with rig(has_beam_decoder=False) as running:
            await answer(running.submit([1], beam_size=4, max_tokens=30))
            await running.until_idle()
            num_steps = len(running.opened.attention_step_runner.num_rows)
            assert {num_rows for num_rows, _ in running.counts.windows} == {4}
            assert sum(steps for _, steps in running.counts.windows) == num_steps
            assert num_steps % 8, "the search is over inside a window"

    asyncio.run(main())


BAD = 500  # a token that is in no vocabulary


def test_a_failed_encode_call_fails_the_requests_in_it_and_no_others() -> None:
    async def main() -> None:
        async with rig() as running:
            running.opened.sequence_runner.fails_at = BAD
            steady = running.submit([1, 2], **UNENDING)
            await running.until_running(1)
            with pytest.raises(EngineError):
                await answer(running.submit([BAD], [3], beam_size=2))
            running.engine.cancel(steady)
            same(await answer(running.submit([5])), [[5]], TranslationOptions())
            await running.until_idle()

    asyncio.run(main())


def test_numbers_that_are_not_finite_fail_their_own_request_alone() -> None:
    async def main() -> None:
        async with rig() as running:
            running.opened.break_at(FAILING)
            running.opened.hold()
            steady = running.submit([3], beam_size=4, max_tokens=20)
            bad = running.submit([4], [2] * (FAILING - 1), beam_size=2)
            running.opened.release()
            with pytest.raises(EngineError, match="not finite"):
                await answer(bad)
            same(await answer(steady), [[3]], TranslationOptions(beam_size=4, max_tokens=20))
            await running.until_idle()

    asyncio.run(main())


def test_stopping_tells_everyone_who_waits() -> None:
    async def main() -> None:
        async with rig(max_rows=2) as running:
            running.opened.slow_down(0.001)
            translations = [running.submit([1] * 50, **UNENDING) for _ in range(3)]
            await asyncio.sleep(0.02)
            assert await asyncio.to_thread(running.engine.stop, 10)
            for translation in translations:
                with pytest.raises(UnavailableError):
                    await answer(translation)
            with pytest.raises(UnavailableError, match="shutting down"):
                running.submit([1])

    asyncio.run(main())


def test_stopping_waits_no_longer_than_told_for_a_call_that_never_returns() -> None:
    async def main() -> None:
        async with rig(num_lanes=2) as running:
            running.opened.hold()
            stuck = running.submit([1], beam_size=1)
            running.submit([2], beam_size=1)
            while not stuck.times.began:
                await asyncio.sleep(0.001)
            started = time.monotonic()
            assert not await asyncio.to_thread(running.engine.stop, 0.2)
            assert time.monotonic() - started < 5
            with pytest.raises(UnavailableError):
                await answer(stuck)

    asyncio.run(main())


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("has_decoder", [True, False])
def test_numbers_that_are_not_finite_in_windows_fail_their_own_request_alone(has_decoder: bool, beam_size: int) -> None:
    async def main() -> None:
        async with rig(has_decoder=has_decoder, has_beam_decoder=has_decoder) as running:
            running.opened.break_at(FAILING)
            running.opened.hold()
            options: dict[str, Any] = {"beam_size": beam_size, "max_tokens": 20}
            steady = running.submit([3], [5, 6], **options)
            bad = running.submit([4], [2] * (FAILING - 1), [9], beam_size=beam_size)
            running.opened.release()
            with pytest.raises(EngineError, match="not finite"):
                await answer(bad)
            same(await answer(steady), [[3], [5, 6]], TranslationOptions(**options))
            await running.until_idle()

    asyncio.run(main())


def test_the_options_alone_decide_by_which_graph_a_source_is_decoded() -> None:
    async def main(options: dict[str, Any], graph: str, **setting: bool) -> None:
        async with rig(**setting) as running:
            await answer(running.submit([1, 2], max_tokens=6, **options))
            opened = running.opened
            calls = {
                "decode": opened.decode_runner.windows,
                "decode_beam": [call for runner in opened.beam_runners.values() for call in runner.windows],
                "step": opened.attention_step_runner.num_rows,
            }
            assert {name for name, made in calls.items() if made} == {graph}

    asyncio.run(main({"beam_size": 1}, "decode"))
    asyncio.run(main({"beam_size": 1}, "step", has_decoder=False))
    asyncio.run(main({"beam_size": 2}, "decode_beam"))
    asyncio.run(main({"beam_size": 2}, "decode_beam", has_decoder=False))
    asyncio.run(main({"beam_size": 2}, "step", has_beam_decoder=False))
    asyncio.run(main({"beam_size": 1, "temperature": 1.0}, "step"))


def test_attention_is_asked_for_only_where_a_search_needs_it() -> None:
    async def main() -> None:
        async with rig() as running:
            translation = running.submit([1, 2], beam_size=2, max_tokens=6)
            translation.keeps_attention = False
            await answer(translation)
            covered = running.submit([1, 2], beam_size=2, max_tokens=6, coverage_penalty=0.5)
            covered.keeps_attention = False
            await answer(covered)
            wanted = running.opened.beam_runners[2].wanted
            assert ["attention" in outputs for outputs in (wanted[0], wanted[-1])] == [False, True]

    asyncio.run(main())


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("is_cancelled", [False, True])
def test_nothing_of_a_request_that_is_over_is_kept(beam_size: int, is_cancelled: bool) -> None:
    async def submitted(running: Rig) -> weakref.ref[Any]:
        translation = running.submit([1] * 9, [2], beam_size=beam_size, max_tokens=9)
        if is_cancelled:
            running.engine.cancel(translation)
        else:
            await answer(translation)
        translation.items.clear()  # as server.admission does
        return weakref.ref(translation.outputs)

    async def main() -> None:
        async with rig() as running:
            gc.collect()
            gc.disable()
            try:
                reference = await submitted(running)
                await running.until_idle()
                await answer(running.submit([3], beam_size=beam_size))  # so that the lane has let go of it
                assert reference() is None
            finally:
                gc.enable()

    asyncio.run(main())
