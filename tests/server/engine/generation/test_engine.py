import asyncio
import gc
import itertools
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest

from models.decoding.detokenizer import TokenTexts
from models.decoding.options import GenerationOptions
from server.engine.generation.request import TextOutput
from server.errors import EngineError, UnavailableError
from tests.server.engine.generation.harness import (
    BAD,
    TEXTS,
    WIDE,
    Rig,
    answer,
    generation_of,
    plainly,
    rig,
    same_output,
)

LONG: dict[str, Any] = {"max_tokens": 200, "min_tokens": 200}


def some_options(rng: np.random.Generator, most_tokens: int = 40) -> dict[str, Any]:
    options: dict[str, Any] = {"max_tokens": int(rng.integers(1, most_tokens)), "n": int(rng.choice([1, 1, 1, 2, 5]))}
    if rng.random() < 0.3:
        options["temperature"] = float(rng.choice([0, 0.5, 2]))
    if rng.random() < 0.2:
        options["top_k"] = int(rng.integers(1, 12))
    if rng.random() < 0.2:
        options["top_p"] = float(rng.uniform(0.2, 1))
    if rng.random() < 0.3:
        options["min_p"] = 0.05
    if rng.random() < 0.4:
        options["stop"] = [str(rng.choice(["ab", "c", "生", "de", "\ufffd"]))]
    if rng.random() < 0.4:
        options["min_tokens"] = int(rng.integers(0, options["max_tokens"] + 1))
    if rng.random() < 0.4:
        return options  # of these most are chosen inside the graph
    if rng.random() < 0.2:
        options["repetition_penalty"] = float(rng.choice([0.5, 1.3, 4]))
    if rng.random() < 0.2:
        options["presence_penalty"] = float(rng.choice([-2, 0.7]))
    if rng.random() < 0.2:
        options["frequency_penalty"] = float(rng.choice([-0.5, 1.5]))
    if rng.random() < 0.2:
        options["logit_bias"] = {int(rng.integers(23)): float(rng.choice([-100, 3])) for _ in range(4)}
    if rng.random() < 0.3:
        options["logprobs"] = int(rng.choice([0, 1, 5, 20]))
    return options


def some_prompt(rng: np.random.Generator) -> list[int]:
    length = int(rng.choice([1, 2, 5, 9, 16, 31, 32, 33, 34, 65, 100]))
    tokens: list[int] = rng.integers(1, 3 if rng.random() < 0.3 else 23, length).tolist()  # some begin alike
    return tokens


def expected(
    prompts: list[list[int]], options: dict[str, Any], seed: int, texts: TokenTexts = TEXTS
) -> list[TextOutput]:
    checked = GenerationOptions(**options)
    return [
        plainly(prompt, checked, seed, k, texts)._replace(choice_index=p * checked.n + k)
        for p, prompt in enumerate(prompts)
        for k in range(checked.n)
    ]


def same(found: list[TextOutput], wanted: list[TextOutput]) -> None:
    for one, other in zip(found, wanted, strict=True):
        same_output(one, other)


@pytest.mark.parametrize(
    "setting",
    [
        {"max_rows": 1, "prefill_tokens": 32, "max_steps": 1},
        {"max_rows": 8, "prefill_max_rows": 0, "forced_tokens": 4096},
        {"max_rows": 8, "num_lanes": 2, "max_steps": 4, "cache_bytes": 0},
        {"max_rows": 64, "prefill_tokens": 256, "prefill_max_rows": 64, "forced_tokens": 0, "max_steps": 2},
        {"max_rows": 8, "has_decoder": False},
        {"max_rows": 8, "num_lanes": 2, "texts": WIDE, "cache_bytes": 4000},
        {"max_rows": 8, "has_decoder": False, "texts": WIDE, "max_steps": 1},
    ],
)
def test_an_answer_is_the_same_alone_and_among_many_streamed_and_whole(setting: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    texts = setting.get("texts", TEXTS)

    async def main() -> None:
        async with rig(**setting) as running:
            tasks = []
            for seed in range(20 if texts is WIDE else 40):
                prompts = [some_prompt(rng) for _ in range(rng.choice([1, 1, 3]))]
                options = some_options(rng)
                generation = running.submit(*prompts, seed=seed, is_streamed=bool(rng.random() < 0.5), **options)
                tasks.append((asyncio.create_task(answer(generation)), prompts, options, seed))
                await asyncio.sleep(float(rng.choice([0, 0, 0.001])))
            for task, prompts, options, seed in tasks:
                same(await task, expected(prompts, options, seed, texts))
            await running.until_idle()

    asyncio.run(main())


def test_cancelled_requests_never_affect_batch_mates_and_free_their_rows() -> None:
    rng = np.random.default_rng(1)

    async def main() -> None:
        async with rig(max_rows=6, num_lanes=2) as running:
            staying, leaving = [], []
            for seed in range(60):
                prompts, options = [some_prompt(rng)], some_options(rng)
                generation = running.submit(*prompts, seed=seed, **options)
                if rng.random() < 0.5:
                    leaving.append(generation)
                else:
                    staying.append((asyncio.create_task(answer(generation)), prompts, options, seed))
                await asyncio.sleep(0.0005)
                if leaving and rng.random() < 0.7:
                    running.engine.cancel(leaving[rng.integers(len(leaving))])
            for generation in leaving:
                running.engine.cancel(generation)
            for task, prompts, options, seed in staying:
                same(await task, expected(prompts, options, seed))
            await running.until_idle()

    asyncio.run(main())


def test_a_cancelled_row_takes_part_in_no_window_after_the_one_that_runs() -> None:
    async def main() -> None:
        async with rig(max_steps=1) as running:
            running.opened.hold()
            first = running.submit([1], max_tokens=4096, min_tokens=4096)
            second = running.submit([2], max_tokens=20, min_tokens=20)
            await running.until_running(1)
            running.engine.cancel(first)
            running.opened.release()
            await answer(second)
            assert running.opened.decode_runner.windows.count((2, 1)) <= 1

    asyncio.run(main())


@pytest.mark.parametrize(("max_steps", "windows"), [(1, [(3, 1)] * 7), (4, [(3, 4)] * 2), (8, [(3, 8)])])
def test_no_window_is_made_for_nobody(max_steps: int, windows: list[tuple[int, int]]) -> None:
    async def main() -> None:
        async with rig(max_steps=max_steps) as running:
            ended = await answer(running.submit([1, 2, 3], max_tokens=7, min_tokens=7, n=3))
            await asyncio.sleep(0.02)
            assert running.counts.windows == windows
            assert [output.num_tokens for output in ended] == [7] * 3

    asyncio.run(main())


@pytest.mark.parametrize(
    ("prompt", "options", "windows"),
    [
        ([1], {"max_tokens": 10, "min_tokens": 10}, [(1, 8), (1, 2)]),
        ([1] * 10, {"max_tokens": 3, "min_tokens": 3}, [(1, 8), (1, 4)]),  # 9 tokens of the prompt are fed
        ([1] * 10, {"max_tokens": 3, "min_tokens": 3, "is_streamed": True}, [(1, 8), (1, 4)]),
    ],
)
def test_the_last_window_makes_only_the_steps_that_are_left(
    prompt: list[int], options: dict[str, Any], windows: list[tuple[int, int]]
) -> None:
    async def main() -> None:
        async with rig(prefill_max_rows=0) as running:
            await answer(running.submit(prompt, **options))
            assert running.counts.windows == windows

    asyncio.run(main())


@pytest.mark.parametrize(
    ("num_streams", "windows"), [(0, [(1, 8), (1, 8)]), (1, [(1, 1), (1, 8), (1, 8)]), (5, [(5, 8), (5, 8)])]
)
def test_few_streams_do_not_wait_for_a_long_window_to_end_for_their_first_token(
    num_streams: int, windows: list[tuple[int, int]]
) -> None:
    async def main() -> None:
        async with rig() as running:
            options = GenerationOptions(max_tokens=16, min_tokens=16)
            stream = generation_of([[1]] * max(1, num_streams), options, 1, is_streamed=num_streams > 0)
            running.engine.submit(stream)
            await answer(stream)
            assert running.counts.windows == windows

    asyncio.run(main())


def test_a_prompt_is_read_once_for_all_its_samples_in_aligned_chunks() -> None:
    async def main() -> None:
        async with rig(max_rows=3) as running:
            await answer(running.submit([1] * 71, max_tokens=2, n=16))
            assert running.opened.sequence_runner.calls == [(32,), (32,), (6,)]
            assert running.counts.prefilled_tokens == 70

    asyncio.run(main())


def test_chunks_of_several_prompts_are_read_in_one_call() -> None:
    async def main() -> None:
        async with rig(prefill_tokens=256) as running:
            await answer(running.submit([1] * 33, [2] * 41, [3], [4] * 20, max_tokens=1))
            assert running.opened.sequence_runner.calls == [(32, 32, 19), (8,)]

    asyncio.run(main())


def test_what_a_window_or_a_call_has_read_is_not_read_again() -> None:
    async def main(prefill_max_rows: int) -> None:
        async with rig(prefill_max_rows=prefill_max_rows, forced_tokens=4096) as running:
            prompt = list(range(1, 21)) * 5
            first = running.submit(prompt, max_tokens=2)
            same(await answer(first), expected([prompt], {"max_tokens": 2}, 1))
            again = running.submit([*prompt, 7], max_tokens=2)
            same(await answer(again), expected([[*prompt, 7]], {"max_tokens": 2}, 1))
            assert (first.num_cached, again.num_cached) == (0, 96)
            assert running.counts.known_tokens == 96
            assert bool(running.opened.sequence_runner.calls) == bool(prefill_max_rows)

    for prefill_max_rows in (0, 8):
        asyncio.run(main(prefill_max_rows))


def test_only_a_row_that_no_window_can_serve_is_stepped_outside() -> None:
    async def main(texts: TokenTexts, options: dict[str, Any], *, is_inside: bool) -> None:
        async with rig(texts=texts) as running:
            same(await answer(running.submit([1], **options)), expected([[1]], options, 1, texts))
            assert bool(running.opened.decode_runner.windows) == is_inside
            assert bool(running.opened.step_runner.num_rows) != is_inside
            is_wide_filter = texts is WIDE and "top_k" in options
            assert bool(running.opened.sequence_runner.num_choices) == (not is_inside and not is_wide_filter)

    options: dict[str, Any]
    for texts in (TEXTS, WIDE):
        for options in ({}, {"temperature": 0}, {"min_p": 0.1}, {"stop": ["a"]}):
            asyncio.run(main(texts, options, is_inside=True))
        for options in ({"top_k": 3}, {"logprobs": 2}):
            asyncio.run(main(texts, options, is_inside=texts is TEXTS))
        for options in ({"presence_penalty": 1.0}, {"logit_bias": {3: 1.0}}):
            asyncio.run(main(texts, options, is_inside=False))


async def fails(running: Rig, *prompt: int, n: int = 1) -> None:
    with pytest.raises(EngineError):
        await answer(running.submit(list(prompt), n=n))


@pytest.mark.parametrize("has_decoder", [True, False])
def test_a_failed_window_fails_the_requests_in_it_and_no_others(has_decoder: bool) -> None:
    async def main() -> None:
        async with rig(max_rows=2, has_decoder=has_decoder) as running:
            running.opened.fail_at(BAD)
            running.opened.hold()
            mate = running.submit([1], max_tokens=4000, min_tokens=4000)
            bad = running.submit([BAD])
            later = running.submit([1] * 40, [2], seed=5, max_tokens=30, min_tokens=30)  # there are two slots
            running.opened.release()
            for generation in (mate, bad):
                with pytest.raises(EngineError):
                    await answer(generation)
            assert await answer(later) == expected([[1] * 40, [2]], {"max_tokens": 30, "min_tokens": 30}, 5)
            await running.until_idle()

    asyncio.run(main())


def test_a_failed_prefill_fails_the_requests_in_it_and_no_others() -> None:
    async def main() -> None:
        async with rig() as running:
            running.opened.sequence_runner.fails_at = BAD
            steady = running.submit([1, 2], seed=3, **LONG)
            await running.until_running(1)
            await fails(running, BAD, 1, n=2)
            assert await answer(steady) == expected([[1, 2]], LONG, 3)
            await running.until_idle()

    asyncio.run(main())


@pytest.mark.parametrize("has_decoder", [True, False])
@pytest.mark.parametrize("options", [{}, {"logprobs": 1}, {"temperature": 0}])
def test_numbers_that_are_not_finite_fail_their_own_request_alone(has_decoder: bool, options: dict[str, Any]) -> None:
    async def main() -> None:
        async with rig(has_decoder=has_decoder) as running:
            running.opened.break_at(BAD)
            running.opened.hold()
            steady = running.submit([3], seed=3, **LONG)
            bad = running.submit([5, BAD], [4], n=3, **options)
            running.opened.release()
            with pytest.raises(EngineError, match="not finite"):
                await answer(bad)
            assert await answer(steady) == expected([[3]], LONG, 3)
            await running.until_idle()

    asyncio.run(main())


def test_numbers_that_are_not_finite_in_the_middle_of_a_prompt_read_by_a_window_fail_nobody() -> None:
    async def main() -> None:
        async with rig(prefill_max_rows=0) as running:
            running.opened.break_at(7)
            options: dict[str, Any] = {"max_tokens": 4, "logit_bias": {}, "temperature": 0}
            wanted = expected([[7, 3, 4]], options, 1)
            assert "g" not in wanted[0].text
            assert await answer(running.submit([7, 3, 4], **options)) == wanted

    asyncio.run(main())


def test_a_text_that_ends_before_its_numbers_stop_being_finite_is_answered() -> None:
    async def main() -> None:
        async with rig() as running:
            options: dict[str, Any] = {"min_tokens": 5, "temperature": 0}
            whole = plainly([6], GenerationOptions(max_tokens=5, **options), 1, 0).text
            assert whole[4] not in whole[:4]
            running.opened.break_at(TEXTS.token_bytes.index(whole[4].encode()))
            ending = {"max_tokens": 5, **options}
            assert await answer(running.submit([6], **ending)) == expected([[6]], ending, 1)
            with pytest.raises(EngineError, match="not finite"):
                await answer(running.submit([6], max_tokens=6, **options))

    asyncio.run(main())


def test_a_bug_in_a_call_is_a_failed_call() -> None:
    async def main() -> None:
        async with rig() as running:
            good = running.opened.decode_runner.decode
            running.opened.decode_runner.decode = None  # type: ignore[method-assign,assignment]
            await fails(running, 1)
            assert not running.counts.windows  # its time says nothing about steps
            running.opened.decode_runner.decode = good  # type: ignore[method-assign]
            assert (await answer(running.submit([1], max_tokens=2)))[0].finish_reason

    asyncio.run(main())


def test_stopping_tells_everyone_who_waits() -> None:
    async def main() -> None:
        async with rig(max_rows=1, num_lanes=2) as running:
            generations = [running.submit([1] * 50, max_tokens=4096, min_tokens=4096) for _ in range(5)]
            await asyncio.sleep(0.01)
            assert await asyncio.to_thread(running.engine.stop, 10)
            for generation in generations:
                with pytest.raises(UnavailableError):
                    await answer(generation)
            with pytest.raises(UnavailableError, match="shutting down"):
                running.submit([1])
            assert not running.engine.is_alive

    asyncio.run(main())


def test_stopping_waits_no_longer_than_told_for_a_call_that_never_returns() -> None:
    async def main() -> None:
        async with rig(max_rows=1, num_lanes=2) as running:
            running.opened.hold()
            stuck = [running.submit([1], max_tokens=40), running.submit([2], [3], [4], max_tokens=40)]
            while not running.engine._lanes[0].num_running:  # it is in the call that is held, or about to be
                await asyncio.sleep(0.001)
            started = time.monotonic()
            assert not await asyncio.to_thread(running.engine.stop, 0.2)
            assert time.monotonic() - started < 5
            for generation in stuck:
                with pytest.raises(UnavailableError):
                    await answer(generation)

    asyncio.run(main())


def test_an_engine_that_is_stopped_makes_no_lane() -> None:
    async def main() -> None:
        async with rig(num_lanes=2) as running:
            running.opened.hold()
            running.submit([1])
            await running.until_running(1)
            assert not await asyncio.to_thread(running.engine.stop, 0.01)
            with pytest.raises(UnavailableError, match="shutting down"):
                running.submit([2])
            assert len(running.engine._lanes) == 1

    asyncio.run(main())


def test_an_engine_that_ended_by_a_bug_says_so_and_fails_what_it_had() -> None:
    async def main() -> None:
        async with rig(max_rows=1) as running:
            running.opened.hold()
            generations = [running.submit([number], max_tokens=40) for number in range(1, 4)]
            await running.until_running(1)
            running.engine._lanes[0]._scheduler.join = None  # type: ignore[method-assign,assignment]
            running.opened.release()
            for generation in generations[1:]:
                with pytest.raises(EngineError):
                    await answer(generation)
            while running.engine.is_alive:
                await asyncio.sleep(0.001)
            with pytest.raises(EngineError, match="restart"):
                running.submit([1])

    asyncio.run(main())


def test_nothing_goes_on_of_a_request_that_was_refused_because_one_of_two_lanes_has_ended() -> None:
    async def main() -> None:
        async with rig(num_lanes=2) as running:
            running.opened.hold()
            steady = running.submit([1], max_tokens=2)
            await answer(running.submit([2], max_tokens=2))
            running.engine._lanes[1]._scheduler.join = None  # type: ignore[method-assign,assignment]
            with pytest.raises(EngineError):
                await answer(running.submit([2], max_tokens=2))
            running.opened.release()
            await answer(steady)
            first = running.engine._lanes[0]
            while first.load:
                await asyncio.sleep(0.001)
            with pytest.raises(EngineError, match="restart"):
                running.submit([3], [4], max_tokens=4096, min_tokens=4096)
            while first.load:
                await asyncio.sleep(0.001)
            assert sum(steps for _, steps in running.opened.decode_runner.windows) < 2000

    asyncio.run(main())


def test_a_second_lane_is_made_when_the_first_has_work_and_no_sooner() -> None:
    async def main() -> None:
        async with rig(num_lanes=2) as running:
            for _ in range(3):
                await answer(running.submit([1], max_tokens=2))
                await running.until_idle()
            assert not running.sets[1].decode_runner.windows
            running.opened.hold()
            stuck = running.submit([1], max_tokens=2)
            assert await answer(running.submit([2], max_tokens=2)) == expected([[2]], {"max_tokens": 2}, 1)
            assert running.sets[1].decode_runner.windows
            running.opened.release()
            await answer(stuck)

    asyncio.run(main())


def test_a_busy_loop_gets_what_gathered_in_one_piece() -> None:
    async def main() -> None:
        async with rig() as running:
            generation = running.submit([1], max_tokens=500, min_tokens=500, is_streamed=True)
            mate = running.submit([2], max_tokens=540, min_tokens=540)
            await generation.outputs.get()
            while sum(steps for _, steps in running.counts.windows) < 510:
                threading.Event().wait(0.01)  # the loop is held up while the engine goes on
            rest = await generation.outputs.get()
            assert (rest[-1].finish_reason, rest[-1].num_tokens) == ("length", 500)
            await answer(mate)

    asyncio.run(main())


@pytest.mark.parametrize("max_steps", [1, 8])
def test_a_stream_is_sent_every_window(max_steps: int) -> None:
    async def main() -> None:
        async with rig(max_rows=64, max_steps=max_steps) as running:
            options = GenerationOptions(max_tokens=60, min_tokens=60)
            streams = [generation_of([[3]], options, seed, is_streamed=True) for seed in range(20)]
            for stream in streams:
                running.engine.submit(stream)
            for seed, stream in enumerate(streams):
                outputs: list[TextOutput] = []
                while not outputs or outputs[-1].finish_reason is None:
                    outputs += await stream.outputs.get()
                counts = [output.num_tokens for output in outputs]
                # A token whose bytes are not a whole character yet has no text to send: hence a few more.
                assert counts[0] <= max_steps + 2
                assert max(after - before for before, after in itertools.pairwise(counts)) <= max_steps + 3
                assert "".join(output.text for output in outputs) == plainly([3], options, seed, 0).text

    asyncio.run(main())


def test_when_a_request_began_and_had_its_first_token_is_noted() -> None:
    async def main() -> None:
        async with rig() as running:
            started = time.perf_counter()
            generation = running.submit([1] * 40, max_tokens=3)
            await answer(generation)
            times = generation.times
            assert started <= times.began <= times.first_token <= time.perf_counter()

    asyncio.run(main())


def test_requests_are_told_apart_by_identity() -> None:
    one, two = (generation_of([[1]], GenerationOptions(), 1) for _ in range(2))
    assert len({one, two, *one.items, *two.items}) == 4


@pytest.mark.parametrize(
    ("options", "is_cancelled"), [({}, False), ({"presence_penalty": 1.0}, False), ({"stop": ["a"]}, False), ({}, True)]
)
def test_nothing_of_a_request_that_is_over_is_kept(options: dict[str, Any], is_cancelled: bool) -> None:
    async def submitted(running: Rig) -> list[weakref.ref[Any]]:
        generation = running.submit([1] * 40, [2], n=2, is_streamed=True, max_tokens=20, **options)
        if is_cancelled:
            running.engine.cancel(generation)
        else:
            await answer(generation)
        references: list[weakref.ref[Any]] = [weakref.ref(generation.outputs)]
        references += [weakref.ref(item.tokens) for item in generation.items]
        generation.items.clear()  # as server.admission does
        return references

    async def main() -> None:
        async with rig() as running:
            gc.collect()
            gc.disable()
            try:
                references = await submitted(running)
                await running.until_idle()
                await answer(running.submit([1]))  # so that the lane has let go of what it had in its hands
                assert [reference() for reference in references] == [None] * 3
            finally:
                gc.enable()

    asyncio.run(main())
