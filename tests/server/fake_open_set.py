"""A graph set whose runners are fakes, the same ones each time, so that a test can hold or break them."""

import threading
from typing import cast

from models.graph_set import GraphSet
from runtime.runner import AttentionStepRunner, DecodeRunner, SequenceRunner, StepRunner
from tests.server.fake_runner import FakeAttentionStepRunner, FakeSequenceRunner, FakeStepRunner


class FakeOpenSet:
    """Without `decode`: rows are decoded step by step, so that each step can be held.

    Args:
        vocab_size: V.
        capacity: slots.
    """

    def __init__(self, vocab_size: int, capacity: int = 256) -> None:
        self.max_length: int | None = None
        self.sequence_runner = FakeSequenceRunner(vocab_size)
        self.step_runner = FakeStepRunner(capacity, vocab_size)
        self.beam_step_runner = FakeStepRunner(capacity, vocab_size)
        self.attention_runner = FakeAttentionStepRunner(capacity, vocab_size)

    @property
    def graph_set(self) -> GraphSet:
        return cast("GraphSet", None)

    def sequences(self) -> SequenceRunner:
        return self.sequence_runner

    def steps(self, capacity: int) -> StepRunner:
        # A lane asks for another one when its first beam search comes.
        is_of_beams = threading.current_thread().name.startswith("lane ")
        runner = self.beam_step_runner if is_of_beams else self.step_runner
        runner.capacity = capacity
        return runner

    def attention_steps(self, capacity: int) -> AttentionStepRunner:
        self.attention_runner.capacity = capacity
        return self.attention_runner

    def decoder(self, capacity: int) -> DecodeRunner | None:
        return None

    def beam_decoder(self, capacity: int, beam_size: int) -> DecodeRunner | None:
        return None

    def has(self, graph: str) -> bool:
        return False
