"""Random histories of requests for sentiment, one call of the engine at a time (tests.server.engine.lockstep)."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, run_state_machine_as_test
from server.engine.sentiment.engine import SentimentEngine
from server.engine.sentiment.request import Classification, Verdict

from models.errors import RequestError
from server.engine.outputs import Mailbox
from server.errors import ClientGoneError, EngineError, UnavailableError
from tests.server.engine.counts import Counts
from tests.server.engine.lockstep import Case, EngineMachine, HeldSequences, Key, source_key
from tests.server.engine.sentiment.test_engine import VOCAB_SIZE, plainly, some_texts

COMMON = [[1], [1, 2], [3] * 16, [4] * 17]  # texts that several requests have


class StrictMailbox(Mailbox[Verdict]):
    """One that notices what the engine says after it has said that the request has failed."""

    def __init__(self) -> None:
        super().__init__()
        self.has_failed = self.is_disturbed = False

    def put(self, item: Verdict | RequestError) -> None:
        self.is_disturbed |= self.has_failed and not isinstance(item, ClientGoneError)  # that one is not the engine's
        self.has_failed |= isinstance(item, EngineError | UnavailableError)
        super().put(item)


class SentimentCase(Case):
    """The fake's classes are a hash of the text, so the labels of another text are other numbers."""

    def __init__(self, texts: list[list[int]]) -> None:
        self.outputs = StrictMailbox()
        super().__init__(Classification(texts, self.outputs), Counter[Key](map(source_key, texts)))
        self.expected = [plainly(tokens) for tokens in texts]
        self.answered: set[int] = set()

    @property
    def is_answered(self) -> bool:
        return len(self.answered) == len(self.expected)

    def take(self, item: Verdict) -> None:
        assert item.number not in self.answered, "a text answered twice"
        assert item.probabilities == self.expected[item.number], "labels of another text"
        self.answered.add(item.number)


def some_case(draw: random.Random) -> SentimentCase:
    texts = some_texts(np.random.default_rng(draw.getrandbits(64)))
    return SentimentCase([draw.choice(COMMON) if draw.random() < 0.2 else tokens for tokens in texts])


class SentimentMachine(EngineMachine):
    @initialize(
        max_rows=st.sampled_from([64, 16, 5, 1]),
        classify_tokens=st.sampled_from([16, 256, 1024, 8192]),
        long=st.sampled_from([16, 256, 1 << 20]),
        num_runners=st.integers(1, 3),
        stops_early=st.booleans(),
    )
    def start(self, max_rows: int, classify_tokens: int, long: int, num_runners: int, stops_early: bool) -> None:
        self.stops_early = stops_early
        self.max_rows = max_rows
        self.counts = Counts()
        self.mailboxes: list[StrictMailbox] = []
        engine = SentimentEngine(
            "fake",
            [HeldSequences(self.gate, VOCAB_SIZE, long) for _ in range(num_runners)],
            max_rows=max_rows,
            classify_tokens=classify_tokens,
            observer=self.counts,
            long=long,
        )
        self.run_engine(engine)

    def add(self, draw: random.Random) -> None:
        cases = [some_case(draw) for _ in range(draw.randint(1, 3))]
        self.mailboxes += [case.outputs for case in cases]
        self.submit(*cases)

    def teardown(self) -> None:
        super().teardown()
        assert not any(mailbox.is_disturbed for mailbox in self.mailboxes), "news after the end"
        assert max(self.counts.classified_rows, default=0) <= self.max_rows


@pytest.mark.parametrize("number", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_random_histories_of_50_steps(number: int) -> None:
    run_state_machine_as_test(
        SentimentMachine, settings=settings(max_examples=number, stateful_step_count=50, deadline=None)
    )
