"""Beam searches of a lane: what each finds alone, whatever else runs."""

import asyncio
import random
from typing import Any

import numpy as np
import pytest

from models.decoding.beam_search import BeamSearch
from models.decoding.options import GenerationOptions, TranslationOptions
from server.engine.generation.request import Beam, Generation, TextOutput
from server.errors import EngineError
from tests.server.engine.generation.harness import (
    BAD,
    END,
    TEXTS,
    VOCAB_SIZE,
    Rig,
    answer,
    continuation_of,
    plainly,
    rig,
    state_after,
)
from tests.server.fake_runner import fake_logits, fake_next_state


def search_of(prompt: list[int], beam: Beam, **options: Any) -> Generation:
    checked = GenerationOptions(n=beam.num_wanted, **options)
    generation = Generation(checked, 1, is_streamed=False, beam=beam)
    generation.add_prompt(prompt, [continuation_of(checked) for _ in range(beam.num_wanted)])
    return generation


def plain_search(
    prompt: list[int], beam: Beam, *, max_tokens: int, min_tokens: int = 0
) -> list[tuple[str, str | None]]:
    """Texts and finish reasons of a search with nothing around it."""
    options = TranslationOptions(
        beam_size=beam.size,
        alternatives=beam.num_wanted - 1,
        length_penalty=beam.length_penalty,
        max_tokens=max_tokens,
    )
    search = BeamSearch(options, end_id=END, source_length=1, keep_attention=False)
    search.live = [(prompt[-1], 0.0)]
    states = state_after(prompt[:-1])[None]
    while not search.is_over:
        states = fake_next_state(states, search.tokens)
        logits = fake_logits(states, VOCAB_SIZE)
        if search.num_tokens < min_tokens:
            logits[:, END] = -np.inf
        states = states[search.advance(logits, np.zeros((len(states), 1), np.float32))]
    texts: list[tuple[str, str | None]] = []
    for found in search.results():
        continuation = continuation_of(GenerationOptions(max_tokens=max_tokens))
        continuation.extend(found.ids)
        texts.append((continuation.take_last(), found.finish_reason))
    return texts


def shown(outputs: list[TextOutput]) -> list[tuple[str, str | None]]:
    return [(output.text, output.finish_reason) for output in outputs]


def drawn(draw: random.Random) -> tuple[list[int], Beam, dict[str, int]]:
    prompt = [draw.randrange(1, VOCAB_SIZE) for _ in range(draw.choice([1, 2, 40]))]
    size = draw.choice([1, 2, 3, 5, 8])
    max_tokens = draw.choice([1, 2, 9, 30])
    beam = Beam(size, draw.randint(1, size), draw.choice([0.0, 1.0, 2.5]))
    return prompt, beam, {"max_tokens": max_tokens, "min_tokens": draw.choice([0, max_tokens])}


@pytest.mark.parametrize("seed", range(4))
def test_a_search_among_others_and_among_samples_finds_what_it_finds_alone(seed: int) -> None:
    async def main() -> None:
        draw = random.Random(seed)
        async with rig(num_lanes=1 + seed % 2) as engine:
            asked = [drawn(draw) for _ in range(25)]
            searches = [search_of(prompt, beam, **options) for prompt, beam, options in asked]
            samples: list[Generation] = []
            for search in searches:
                engine.engine.submit(search)
                samples.append(engine.submit([1, 2, 3], max_tokens=20, seed=len(samples), n=2))
            cancelled = search_of([1, 2], Beam(8, 8, 1.0), max_tokens=1000, min_tokens=1000)
            engine.engine.submit(cancelled)
            await asyncio.sleep(0.005)
            engine.engine.cancel(cancelled)
            for (prompt, beam, options), search in zip(asked, searches, strict=True):
                assert shown(await answer(search)) == plain_search(prompt, beam, **options)
            for number, sample in enumerate(samples):
                own = GenerationOptions(max_tokens=20, n=2)
                assert shown(await answer(sample)) == shown([plainly([1, 2, 3], own, number, k) for k in range(2)])
            await engine.until_idle()

    asyncio.run(main())


def test_what_fails_and_what_is_not_finite_ends_its_own_search_alone() -> None:
    async def failed(engine: Rig, generation: Generation) -> str:
        engine.engine.submit(generation)
        with pytest.raises(EngineError) as raised:
            await answer(generation)
        return str(raised.value)

    async def main() -> None:
        async with rig() as engine:
            good = search_of([1, 2], Beam(3, 1, 1.0), max_tokens=12)
            engine.opened.break_at(BAD)
            engine.engine.submit(good)
            broken = search_of([BAD], Beam(3, 1, 1.0), max_tokens=12)
            assert "finite" in await failed(engine, broken)
            assert shown(await answer(good)) == plain_search([1, 2], Beam(3, 1, 1.0), max_tokens=12)
            engine.opened.break_at(None)
            engine.opened.fail_at(BAD)
            await failed(engine, search_of([BAD], Beam(2, 1, 1.0), max_tokens=12))
            wide = Beam(8, 8, 1.0)
            few = search_of([3], wide, max_tokens=5)
            engine.engine.submit(few)
            assert shown(await answer(few)) == plain_search([3], wide, max_tokens=5)

    asyncio.run(main())


def test_a_beam_of_one_is_greedy() -> None:
    async def main() -> None:
        async with rig() as engine:
            options = GenerationOptions(max_tokens=20, temperature=0)
            found = search_of([4, 5], Beam(1, 1, 1.0), max_tokens=20)
            engine.engine.submit(found)
            assert shown(await answer(found)) == shown([plainly([4, 5], options, 0, 0, TEXTS)])

    asyncio.run(main())
