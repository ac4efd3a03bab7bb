import asyncio
import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.engine.generation.prefix_cache import CHUNK, PrefixCache
from server.errors import EngineError
from tests.server.engine.generation.harness import VOCAB_SIZE, answer, rig
from tests.server.engine.generation.test_engine import expected, same, some_options, some_prompt

WIDTH = 3
LENGTHS = st.sampled_from([1, 2, 31, 32, 33, 63, 64, 65, 100])


def tokens_of(length: int, variant: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """The variants differ from token 40 on."""
    tokens = np.arange(length, dtype=np.int64)
    tokens[40:] += 1000 * variant
    return tokens


def state_of(tokens: "np.ndarray[Any, np.dtype[np.int64]]") -> "np.ndarray[Any, np.dtype[np.float32]]":
    return np.full(WIDTH, hash(tokens.tobytes()) % 10_007, np.float32)


def put(cache: PrefixCache, tokens: "np.ndarray[Any, np.dtype[np.int64]]") -> list[int]:
    """Read a prompt as a lane does: from what is known, piece by piece; the lengths whose states were kept."""
    start, _, node = cache.find(tokens)
    kept = []
    while start < len(tokens) and start % CHUNK == 0:
        stop = min(start + CHUNK, len(tokens))
        node = cache.extend(node, tokens[start:stop], state_of(tokens[:stop]))
        kept.append(stop)
        start = stop
    return kept


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["put", "find"]), LENGTHS, st.integers(0, 2)), max_size=80),
    st.sampled_from([0, 1, 700, 2500, 10_000, 10**6]),
)
def test_what_is_found_is_a_beginning_with_its_own_state_and_the_budget_holds(
    events: list[tuple[str, int, int]], max_bytes: int
) -> None:
    cache = PrefixCache(max_bytes)
    kept: set[bytes] = set()
    for what, length, variant in events:
        tokens = tokens_of(length, variant)
        if what == "put":
            kept |= {tokens[:stop].tobytes() for stop in put(cache, tokens)}
        else:
            found, state, _ = cache.find(tokens)
            if state is not None:
                assert tokens[:found].tobytes() in kept
                np.testing.assert_array_equal(state, state_of(tokens[:found]))
                assert found == length or found % CHUNK == 0
            if max_bytes == 10**6:  # nothing has been evicted: the longest there is
                known = [n for n in range(1, length + 1) if n == length or n % CHUNK == 0]
                assert found == max((n for n in known if tokens[:n].tobytes() in kept), default=0)
        assert cache.num_bytes <= max_bytes
        assert cache.num_bytes == len(cache) * (WIDTH * 4 + 600)


def test_the_least_recently_used_is_evicted_first_and_leaves_nothing_behind() -> None:
    cache = PrefixCache(3 * (WIDTH * 4 + 600))
    prompts = [np.array([i], np.int64) for i in range(5)]
    for tokens in prompts[:3]:
        put(cache, tokens)
    cache.find(prompts[0])
    put(cache, prompts[3])
    assert [cache.find(tokens).num_tokens for tokens in prompts[:4]] == [1, 0, 1, 1]
    assert cache.num_evicted == 1
    assert len(cache._root.children) == 3


def test_a_node_that_was_evicted_while_its_prompt_is_read_is_gone_on_from() -> None:
    cache = PrefixCache(2 * (WIDTH * 4 + 600))
    tokens = tokens_of(64, 0)
    node = cache.extend(cache.find(tokens).node, tokens[:32], state_of(tokens[:32]))
    for number in range(5):
        put(cache, np.array([7000 + number], np.int64))
    assert cache.find(tokens).num_tokens == 0
    cache.extend(node, tokens[32:], state_of(tokens))
    found = cache.find(tokens)
    assert found.num_tokens == 64
    np.testing.assert_array_equal(found.state, state_of(tokens))


@pytest.mark.parametrize("cache_bytes", [0, 2000, 1 << 20])
def test_a_hit_gives_the_answer_of_a_miss(cache_bytes: int) -> None:
    rng = np.random.default_rng(3)
    stem: list[int] = rng.integers(1, VOCAB_SIZE, 100).tolist()
    prompts = [stem[:n] for n in (1, 2, 31, 32, 33, 34, 64, 65, 66, 97, 100)] + [stem[:40] + some_prompt(rng)]

    async def main() -> int:
        async with rig(max_rows=6, cache_bytes=cache_bytes) as running:
            for round_ in range(3):
                tasks = []
                for number, prompt in enumerate(prompts):
                    options = some_options(rng)
                    generation = running.submit(prompt, seed=number + round_, **options)
                    tasks.append((asyncio.create_task(answer(generation)), prompt, options, number + round_))
                for task, prompt, options, seed in tasks:
                    same(await task, expected([prompt], options, seed))
            return running.counts.known_tokens

    known = asyncio.run(main())
    assert (known > 1000) == (cache_bytes == 1 << 20)
    assert (known == 0) == (cache_bytes == 0)


def test_a_prompt_that_is_known_whole_is_not_read_again_and_its_last_token_is_applied_once() -> None:
    prompt = list(range(1, 19)) * 5

    async def main() -> None:
        async with rig() as running:
            first = running.submit(prompt, seed=1, max_tokens=9, n=3)
            one = await answer(first)
            num_calls = len(running.opened.sequence_runner.calls)
            second = running.submit(prompt, seed=1, max_tokens=9, n=3)
            assert await answer(second) == one
            assert len(running.opened.sequence_runner.calls) == num_calls
            assert (first.num_cached, second.num_cached) == (0, len(prompt) - 1)

    asyncio.run(main())


def test_a_state_that_is_not_finite_is_not_kept() -> None:
    async def main() -> None:
        async with rig() as running:
            run = running.opened.sequence_runner.run

            def broken(graph: str, inputs: Any) -> Any:
                return run(graph, inputs) | {"new_state": np.full((len(inputs["ids"]), WIDTH), np.nan, np.float32)}

            prompt = list(range(1, 20)) * 2
            running.opened.sequence_runner.run = broken  # type: ignore[method-assign]
            with contextlib.suppress(EngineError):
                await answer(running.submit(prompt, max_tokens=5))
            running.opened.sequence_runner.run = run  # type: ignore[method-assign]
            again = running.submit(prompt, max_tokens=5)
            await answer(again)
            assert again.num_cached == 0

    asyncio.run(main())
