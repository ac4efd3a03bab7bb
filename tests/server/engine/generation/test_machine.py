"""Random histories of requests for text, one call of the engine at a time (tests.server.engine.lockstep)."""

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test
from server.engine.generation.engine import GenerationEngine

from models.decoding.options import GenerationOptions
from server.engine.generation.prefix_cache import PrefixCache
from server.engine.generation.request import Generation
from server.engine.generation.request import TextOutput as Update
from tests.server.engine.counts import Counts
from tests.server.engine.generation.harness import (
    END,
    VOCAB_SIZE,
    continuation_of,
    generation_of,
    plain_run,
    plain_states,
)
from tests.server.engine.generation.test_engine import same, some_options
from tests.server.engine.lockstep import Case, EngineMachine, HeldSequences, HeldSteps, Key, read_key
from tests.server.fake_runner import STATE_WIDTH, fake_next_state

STEM: list[int] = np.random.default_rng(5).integers(1, VOCAB_SIZE, 100).tolist()


class GenerationCase(Case):
    def __init__(self, generation: Generation) -> None:
        self.whole: dict[int, Update] = {}
        self.expected: list[Update] = []
        keys: Counter[Key] = Counter()
        for prompt in generation.prompts:
            tokens = prompt.tokens.tolist()
            states = plain_states(tokens)
            keys.update(read_key(state[0], token) for state, token in zip(states[:-1], tokens, strict=False))
            for choice in range(generation.options.n):
                update, steps = plain_run(tokens, generation.options, generation.seed, choice)
                self.expected.append(update._replace(choice=len(self.expected)))
                keys.update(("step", state.tobytes(), token) for state, token in steps)
            state, token = steps[-1]
            self.last_state = fake_next_state(state[None], np.array([token]))
        super().__init__(generation, keys)

    @property
    def is_answered(self) -> bool:
        return len(self.whole) == len(self.expected) and all(update.finish_reason for update in self.whole.values())

    def take(self, item: Update) -> None:
        before, expected = self.whole.get(item.choice), self.expected[item.choice]
        assert before is None or before.finish_reason is None, "news after the end"
        whole = self.whole[item.choice] = item if before is None else item.after(before)
        assert self.request.is_streamed or item.finish_reason is not None, "a piece of what is wanted whole"
        assert expected.text.startswith(whole.text)
        if whole.finish_reason is not None:
            same([whole], [expected])
            prompt = self.request.prompts[item.choice // self.request.options.n]
            if prompt.keeps_state:
                assert prompt.state.tobytes() == plain_states(prompt.tokens.tolist())[-1].tobytes()
                assert prompt.last_state.tobytes() == self.last_state.tobytes()


def some_prompt(rng: np.random.Generator) -> list[int]:
    """Beginnings of one text, so that the cache finds something, with or without an end of their own."""
    stem = STEM[: int(rng.choice([0, 1, 2, 20, 31, 32, 33, 34, 63, 64, 65, 66, 97, 100]))]
    tail: list[int] = rng.integers(1, VOCAB_SIZE, int(rng.choice([0, 1, 1, 3, 20]))).tolist()
    return [*stem, *tail] or [1]


def some_generation(rng: np.random.Generator) -> Generation:
    options: dict[str, Any] = some_options(rng, most_tokens=12)
    seed, is_streamed = int(rng.integers(2**40)), bool(rng.random() < 0.5)
    if rng.random() < 0.25:  # goes on from a state, as sessions do
        checked = GenerationOptions(**{**options, "n": 1})
        known = some_prompt(rng)
        tokens = [*known, *some_prompt(rng)]
        num_read = len(known) if rng.random() < 0.5 else int(rng.integers(0, len(tokens)))
        generation = Generation(checked, seed, is_streamed)
        state = plain_states(tokens)[num_read][0]
        generation.resume(np.array(tokens, np.int64), continuation_of(checked), state, num_read)
        return generation
    prompts = [some_prompt(rng) for _ in range(rng.choice([1, 1, 1, 2, 4]))]
    return generation_of(prompts, GenerationOptions(**options), seed, is_streamed=is_streamed)


class GenerationMachine(EngineMachine):
    @initialize(
        max_rows=st.sampled_from([16, 8, 5, 1]),
        prefill_tokens=st.sampled_from([32, 64, 256]),
        cache_bytes=st.sampled_from([0, 1500, 5000, 1 << 20]),
        prefill_share=st.sampled_from([0.1, 0.5, 0.9]),
        stops_early=st.booleans(),
    )
    def start(
        self, max_rows: int, prefill_tokens: int, cache_bytes: int, prefill_share: float, stops_early: bool
    ) -> None:
        self.stops_early = stops_early
        engine = GenerationEngine(
            "fake",
            HeldSteps(self.gate, 2 * max_rows, VOCAB_SIZE),
            HeldSequences(self.gate, VOCAB_SIZE),
            state_width=STATE_WIDTH,
            vocab_size=VOCAB_SIZE,
            end_id=END,
            max_rows=max_rows,
            prefill_tokens=prefill_tokens,
            prefill_share=prefill_share,
            stream_tokens=8,
            cache=PrefixCache(cache_bytes),
            observer=Counts(),
        )
        self.run_engine(engine)

    def add(self, draw: random.Random) -> None:
        rng = np.random.default_rng(draw.getrandbits(64))
        self.submit(*[GenerationCase(some_generation(rng)) for _ in range(draw.randint(1, 3))])


@pytest.mark.parametrize("number", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_random_histories_of_50_steps(number: int) -> None:
    run_state_machine_as_test(
        GenerationMachine, settings=settings(max_examples=number, stateful_step_count=50, deadline=None)
    )
