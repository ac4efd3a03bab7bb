import asyncio
import itertools
import threading
from typing import Any

import numpy as np
import pytest

from models.decoding.options import GenerationOptions
from server.engine.generation.prefix_cache import PrefixCache
from server.engine.generation.request import TextOutput as Update
from server.errors import EngineError, UnavailableError
from tests.server.engine.generation.harness import VOCAB_SIZE, Rig, answer, generation_of, plainly, rig


def some_options(rng: np.random.Generator, most_tokens: int = 40) -> dict[str, Any]:
    options: dict[str, Any] = {"max_tokens": int(rng.integers(1, most_tokens)), "n": int(rng.choice([1, 1, 1, 2, 5]))}
    if rng.random() < 0.3:
        options["temperature"] = float(rng.choice([0, 0.5, 2]))
    if rng.random() < 0.3:
        options["top_k"] = int(rng.integers(1, 12))
    if rng.random() < 0.3:
        options["top_p"] = float(rng.uniform(0.2, 1))
    if rng.random() < 0.3:
        options["min_p"] = 0.05
    if rng.random() < 0.4:
        options["stop"] = [str(rng.choice(["ab", "c", "生", "de", "\ufffd"]))]
    if rng.random() < 0.4:
        options["min_tokens"] = int(rng.integers(0, options["max_tokens"] + 1))
    if rng.random() < 0.2:
        options["repetition_penalty"] = float(rng.choice([0.5, 1.3, 4]))
    if rng.random() < 0.2:
        options["presence_penalty"] = float(rng.choice([-2, 0.7]))
    if rng.random() < 0.2:
        options["frequency_penalty"] = float(rng.choice([-0.5, 1.5]))
    if rng.random() < 0.2:
        options["logit_bias"] = {int(rng.integers(VOCAB_SIZE)): float(rng.choice([-100, 3])) for _ in range(4)}
    if rng.random() < 0.3:
        options["logprobs"] = int(rng.choice([0, 1, 5, 20]))
    return options


def some_prompt(rng: np.random.Generator) -> list[int]:
    length = int(rng.choice([1, 2, 5, 31, 32, 33, 34, 65, 100]))
    tokens: list[int] = rng.integers(1, VOCAB_SIZE, length).tolist()
    return tokens


def expected(prompts: list[list[int]], options: dict[str, Any], seed: int) -> list[Update]:
    checked = GenerationOptions(**options)
    return [
        plainly(prompt, checked, seed, k)._replace(choice=p * checked.n + k)
        for p, prompt in enumerate(prompts)
        for k in range(checked.n)
    ]


def same(found: list[Update], wanted: list[Update]) -> None:
    """Equal, but for the last digits of logprobs, which are made in another order here."""
    assert [update._replace(logprobs=()) for update in found] == [update._replace(logprobs=()) for update in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert len(one.logprobs) == len(other.logprobs)
        for placed, plain in zip(one.logprobs, other.logprobs, strict=True):
            assert (placed.token, placed.offset, list(placed.top)) == (plain.token, plain.offset, list(plain.top))
            assert placed.logprob == pytest.approx(plain.logprob, abs=1e-5)
            assert list(placed.top.values()) == pytest.approx(list(plain.top.values()), abs=1e-5)


def test_an_answer_is_the_same_alone_and_among_many_streamed_and_whole() -> None:
    rng = np.random.default_rng(0)

    async def main(max_rows: int, prefill_tokens: int) -> None:
        async with rig(max_rows, prefill_tokens) as running:
            requests = []
            for seed in range(120):
                prompts = [some_prompt(rng) for _ in range(rng.choice([1, 1, 3]))]
                options = some_options(rng)
                is_streamed = bool(rng.random() < 0.5)
                requests.append((prompts, options, seed, is_streamed))
            tasks = []
            for prompts, options, seed, is_streamed in requests:
                generation = running.submit(*prompts, seed=seed, is_streamed=is_streamed, **options)
                tasks.append(asyncio.create_task(answer(generation)))
                await asyncio.sleep(float(rng.choice([0, 0, 0.001])))
            for task, (prompts, options, seed, _) in zip(tasks, requests, strict=True):
                same(await task, expected(prompts, options, seed))
            await running.until_idle()

    for max_rows, prefill_tokens in ((1, 32), (8, 64), (64, 256)):
        asyncio.run(main(max_rows, prefill_tokens))


def test_cancelled_requests_never_affect_batch_mates_and_free_their_rows() -> None:
    rng = np.random.default_rng(1)

    async def main() -> None:
        async with rig(max_rows=6) as running:
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


def test_a_cancelled_row_takes_part_in_no_step_after_the_one_that_runs() -> None:
    async def main() -> None:
        async with rig() as running:
            running.steps.gate = threading.Event()
            first = running.submit([1], max_tokens=4096, min_tokens=4096)
            second = running.submit([2], max_tokens=20, min_tokens=20)
            while running.engine.num_running < 1:
                await asyncio.sleep(0.001)
            running.engine.cancel(first)
            running.steps.gate.set()
            await answer(second)
            assert running.steps.num_rows.count(2) <= 1

    asyncio.run(main())


def test_no_step_is_made_for_nobody() -> None:
    async def main() -> None:
        async with rig() as running:
            generation = running.submit([1, 2, 3], max_tokens=7, min_tokens=7, n=3)
            ended = await answer(generation)
            await asyncio.sleep(0.02)
            assert running.counts.steps == [3] * 7
            assert [update.num_tokens for update in ended] == [7] * 3

    asyncio.run(main())


def test_a_prompt_is_read_once_for_all_its_samples_in_aligned_chunks() -> None:
    async def main() -> None:
        async with rig(max_rows=3) as running:
            await answer(running.submit([1] * 71, max_tokens=2, n=16))
            assert running.sequences.calls == [(32,), (32,), (6,)]
            assert running.counts.read_tokens == 70

    asyncio.run(main())


def test_chunks_of_several_prompts_are_read_in_one_call() -> None:
    async def main() -> None:
        async with rig(prefill_tokens=256) as running:
            await answer(running.submit([1] * 33, [2] * 41, [3], [4] * 10, max_tokens=1))
            assert running.sequences.calls == [(32, 32, 9), (8,)]

    asyncio.run(main())


BAD = 500  # a token that is in no vocabulary, so that only a prompt can hold it


async def fails(running: Rig, *prompt: int, n: int = 1) -> None:
    with pytest.raises(EngineError):
        await answer(running.submit(list(prompt), n=n))


def test_a_failed_step_fails_the_requests_in_it_and_no_others() -> None:
    async def main() -> None:
        async with rig(max_rows=2) as running:
            running.steps.fails_at = BAD
            running.steps.gate = threading.Event()
            mate = running.submit([1], max_tokens=4000, min_tokens=4000)
            bad = running.submit([BAD])
            later = running.submit([1] * 40, [2], max_tokens=30, min_tokens=30, seed=5)  # there are two places
            running.steps.gate.set()
            for generation in (mate, bad):
                with pytest.raises(EngineError):
                    await answer(generation)
            assert await answer(later) == expected([[1] * 40, [2]], {"max_tokens": 30, "min_tokens": 30}, 5)
            await running.until_idle()

    asyncio.run(main())


def test_a_failed_prefill_fails_the_requests_in_it_and_no_others() -> None:
    async def main() -> None:
        async with rig() as running:
            running.sequences.fails_at = BAD
            steady = running.submit([1, 2], seed=3, max_tokens=300, min_tokens=300)
            while not running.engine.num_running:
                await asyncio.sleep(0.001)
            await fails(running, BAD, 1)
            assert await answer(steady) == expected([[1, 2]], {"max_tokens": 300, "min_tokens": 300}, 3)

    asyncio.run(main())


def test_numbers_that_are_not_finite_fail_their_own_request_alone() -> None:
    async def main() -> None:
        async with rig() as running:
            running.steps.is_broken_at = BAD
            running.steps.gate = threading.Event()
            steady = running.submit([3], seed=3, max_tokens=200, min_tokens=200)
            bad = running.submit([BAD], [4], n=3)
            running.steps.gate.set()
            with pytest.raises(EngineError, match="not finite"):
                await answer(bad)
            assert await answer(steady) == expected([[3]], {"max_tokens": 200, "min_tokens": 200}, 3)
            await running.until_idle()

    asyncio.run(main())


def test_a_bug_in_a_call_is_a_failed_call() -> None:
    async def main() -> None:
        async with rig() as running:
            good = running.steps.step
            running.steps.step = None  # type: ignore[method-assign,assignment]
            await fails(running, 1)
            running.steps.step = good  # type: ignore[method-assign]
            assert (await answer(running.submit([1], max_tokens=2)))[0].finish_reason

    asyncio.run(main())


def test_stopping_tells_everyone_who_waits() -> None:
    async def main() -> None:
        async with rig(max_rows=1) as running:
            generations = [running.submit([1] * 50, max_tokens=4096, min_tokens=4096) for _ in range(3)]
            await asyncio.sleep(0.01)
            await asyncio.to_thread(running.engine.stop)
            for generation in generations:
                with pytest.raises(UnavailableError):
                    await answer(generation)
            with pytest.raises(UnavailableError, match="shutting down"):
                running.submit([1])

    asyncio.run(main())


def test_an_engine_that_ended_by_a_bug_says_so() -> None:
    async def main() -> None:
        async with rig() as running:
            running.engine._scheduler.next_step = None  # type: ignore[method-assign,assignment]
            await fails(running, 1)
            with pytest.raises(EngineError, match="restart"):
                running.submit([1])

    asyncio.run(main())


def test_a_busy_loop_gets_what_gathered_in_one_piece() -> None:
    async def main() -> None:
        async with rig() as running:
            generation = running.submit([1], max_tokens=500, min_tokens=500, is_streamed=True)
            mate = running.submit([2], max_tokens=520, min_tokens=520)
            await generation.outputs.get()
            while len(running.counts.steps) < 510:
                threading.Event().wait(0.01)  # the loop is held up while the engine goes on
            rest = await generation.outputs.get()
            assert (rest[-1].finish_reason, rest[-1].num_tokens) == ("length", 500)
            await answer(mate)

    asyncio.run(main())


def test_a_runner_with_too_few_slots_is_refused() -> None:
    async def main() -> None:
        async with rig() as running:
            running.steps.capacity = 3
            with pytest.raises(ValueError, match="slots"):
                type(running.engine)(
                    "x",
                    running.steps,
                    running.sequences,
                    state_width=3,
                    vocab_size=4,
                    end_id=None,
                    max_rows=2,
                    prefill_tokens=32,
                    prefill_share=0.5,
                    stream_tokens=1,
                    cache=PrefixCache(0),
                    observer=running.counts,
                )

    asyncio.run(main())


def test_generations_are_told_apart_by_identity() -> None:
    one, two = (generation_of([[1]], GenerationOptions(), 1) for _ in range(2))
    assert len({one, two}) == 2


@pytest.mark.parametrize(("num_streams", "most"), [(3, 1), (32, 4), (64, 5)])
def test_many_streams_are_told_of_several_tokens_at_once_and_the_first_at_once(num_streams: int, most: int) -> None:
    async def main() -> None:
        async with rig(max_rows=64, stream_tokens=5) as running:
            options = GenerationOptions(max_tokens=60, min_tokens=60)
            streams = [generation_of([[3]], options, seed, is_streamed=True) for seed in range(num_streams)]
            running.steps.gate = threading.Event()  # so that all are there in the first step but one
            for stream in streams:
                running.engine.submit(stream)
            running.steps.gate.set()
            for seed, stream in enumerate(streams):
                updates: list[Update] = []
                while not updates or updates[-1].finish_reason is None:
                    updates += await stream.outputs.get()
                counts = [update.num_tokens for update in updates]
                # A token whose bytes are not a whole character yet has no text to tell: hence a few more.
                assert counts[0] <= 2 * most + 1
                assert max(after - before for before, after in itertools.pairwise(counts)) <= 3 * most
                assert 40 // most <= len(counts) <= 60 // most + most + 2
                assert "".join(update.text for update in updates) == plainly([3], options, seed, 0).text

    asyncio.run(main())
