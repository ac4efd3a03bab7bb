"""Conversations through the engine, token by token beside the plain answers: where each call leaves the session."""

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.decoding.options import GenerationOptions
from server.engine.generation.request import Generation
from server.sessions.point import Mark, Point, point_after, reading, state_of
from tests.server.engine.generation.harness import END, TEXTS, VOCAB_SIZE, Rig, answer, continuation_of, plainly, rig
from tests.server.engine.generation.test_engine import same, some_options, some_prompt
from tests.server.fake_runner import STATE_WIDTH, fake_next_state

NOTHING = Mark(0, np.zeros(STATE_WIDTH, np.float32))


async def state_read(rig: Rig, generation: Generation) -> NDArray[np.float32]:
    """The state that the engine finds for what `reading` made."""
    rig.engine.submit(generation)
    await generation.outputs.get()
    return state_of(generation, Point.beginning(STATE_WIDTH))


def row_after(tokens: NDArray[Any]) -> NDArray[np.float32]:
    """The state after all tokens but the last."""
    state = np.zeros((1, STATE_WIDTH), np.float32)
    for token in tokens[:-1]:
        state = fake_next_state(state, np.array([token], np.int64))
    row: NDArray[np.float32] = state[0]
    return row


def text_of(tokens: NDArray[Any]) -> str:
    return b"".join(TEXTS.token_bytes[token] for token in tokens).decode(errors="replace")


def call(rig: Rig, point: Point, prompt: list[int], options: GenerationOptions, seed: int) -> Generation:
    generation = Generation(options, seed, is_streamed=False)
    tokens = np.concatenate([point.tokens.astype(np.int64), np.array(prompt, np.int64)])
    generation.add_resumed_prompt(tokens, continuation_of(options), point.row, point.num_read)
    rig.engine.submit(generation)
    return generation


async def converse(rig: Rig, seed: int) -> None:
    """Some calls of random options; each answer is that of all ids at once, and the row is that of the tokens."""
    rng = np.random.default_rng(seed)
    point = Point.beginning(STATE_WIDTH)
    for turn in range(5):
        options = GenerationOptions(**{**some_options(rng), "n": 1})
        prompt = some_prompt(rng)
        generation = call(rig, point, prompt, options, seed + turn)
        (found,) = await answer(generation)
        whole = [*point.tokens.tolist(), *prompt]
        same([found], [plainly(whole, options, seed + turn, 0)])
        point = point_after(generation, point)
        assert point.tokens[: len(whole)].tolist() == whole
        made = text_of(point.tokens[len(whole) :])
        assert made == found.text if found.stop_reason is None else found.text.startswith(made)
        assert END not in point.tokens[len(whole) :]
        assert point.row.tobytes() == row_after(point.tokens).tobytes()


def test_conversations_are_one_call_with_all_ids_at_once_whatever_others_say() -> None:
    async def main() -> None:
        async with rig(max_rows=8) as where:
            await asyncio.gather(*(converse(where, seed) for seed in range(0, 400, 10)))

    asyncio.run(main())


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_reading_gives_the_state_before_the_last_token_from_any_state_on_the_way(cache_bytes: int) -> None:
    async def main() -> None:
        async with rig(cache_bytes=cache_bytes) as where:
            rng = np.random.default_rng(1)
            tokens = rng.integers(1, VOCAB_SIZE, 100)
            for end in (1, 2, 32, 33, 34, 65, 100, 100):
                for begin in sorted({0, end // 2, end - 1} - {end}):
                    known = row_after(tokens[: begin + 1])
                    row = await state_read(where, reading(TEXTS, tokens[:end], Mark(begin, known)))
                    assert row.tobytes() == row_after(tokens[:end]).tobytes(), (end, begin)

    asyncio.run(main())


def test_what_was_read_from_the_middle_is_not_taken_for_the_beginning_of_another_text() -> None:
    async def main() -> None:
        async with rig() as where:
            tokens = np.arange(1, 101) % (VOCAB_SIZE - 1) + 1
            wrong = np.ones(STATE_WIDTH, np.float32)  # not the state of these tokens: it shows who takes it
            await state_read(where, reading(TEXTS, tokens, Mark(40, wrong)))
            row = await state_read(where, reading(TEXTS, tokens, NOTHING))
            assert row.tobytes() == row_after(tokens).tobytes()
            again = reading(TEXTS, tokens, Mark(40, wrong))
            assert (await state_read(where, again)).tobytes() != row.tobytes()

    asyncio.run(main())
