"""Random histories of requests for translations, one call of the engine at a time (tests.server.engine.lockstep)."""

import random
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test
from server.engine.translation.engine import TranslationEngine

from models.decoding.options import TranslationOptions
from server.engine.translation.request import Progress, Translation
from tests.server.engine.counts import Counts
from tests.server.engine.lockstep import Case, EngineMachine, HeldAttentionSteps, HeldSequences, Key
from tests.server.engine.translation.harness import VOCAB_SIZE, plain_run, same_results, translation_of
from tests.server.engine.translation.test_engine import some_options, some_source


class TranslationCase(Case):
    def __init__(self, translation: Translation) -> None:
        runs = [plain_run(source.tokens[:-1], translation.options) for source in translation.sources]
        super().__init__(translation, Counter[Key](key for _, keys in runs for key in keys))
        self.expected = [results for results, _ in runs]
        self.ids: defaultdict[int, list[int]] = defaultdict(list)
        self.ended: set[int] = set()

    @property
    def is_answered(self) -> bool:
        return len(self.ended) == len(self.expected)

    def take(self, item: Progress) -> None:
        assert item.number not in self.ended, "news after the end"
        expected, ids = self.expected[item.number], self.ids[item.number]
        assert self.request.is_streamed or item.results is not None, "a piece of what is wanted whole"
        ids += item.ids
        assert ids == expected[0].ids[: len(ids)]
        if item.results is not None:
            self.ended.add(item.number)
            assert not self.request.is_streamed or ids == expected[0].ids
            same_results(item.results, expected, self.request.options)


def some_translation(rng: np.random.Generator, max_rows: int) -> Translation:
    options = TranslationOptions(**some_options(rng, max_rows, most_tokens=12))
    sources = [some_source(rng) for _ in range(rng.choice([1, 1, 1, 2, 4]))]
    is_streamed = options.beam_size == 1 and bool(rng.random() < 0.5)
    return translation_of(sources, options, is_streamed=is_streamed)


class TranslationMachine(EngineMachine):
    @initialize(
        max_rows=st.sampled_from([24, 16, 7, 1]),
        encode_tokens=st.sampled_from([16, 64, 512]),
        encode_share=st.sampled_from([0.1, 0.5, 0.9]),
        stops_early=st.booleans(),
    )
    def start(self, max_rows: int, encode_tokens: int, encode_share: float, stops_early: bool) -> None:
        self.stops_early = stops_early
        self.max_rows = max_rows
        engine = TranslationEngine(
            "fake",
            HeldAttentionSteps(self.gate, 2 * max_rows, VOCAB_SIZE),
            HeldSequences(self.gate, VOCAB_SIZE),
            max_rows=max_rows,
            encode_tokens=encode_tokens,
            encode_share=encode_share,
            observer=Counts(),
        )
        self.run_engine(engine)

    def add(self, draw: random.Random) -> None:
        rng = np.random.default_rng(draw.getrandbits(64))
        self.submit(*[TranslationCase(some_translation(rng, self.max_rows)) for _ in range(draw.randint(1, 3))])


@pytest.mark.parametrize("number", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_random_histories_of_50_steps(number: int) -> None:
    run_state_machine_as_test(
        TranslationMachine, settings=settings(max_examples=number, stateful_step_count=50, deadline=None)
    )
