"""What is timed of a model: its graphs at batches and lengths as a server runs them. Knows runners, no clock."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from runtime.opening import OpenSet
from runtime.padding import padded
from runtime.tensorrt.profiles import CHUNK

BATCHES = (1, 8, 64)
SOURCE_LENGTH = 48  # tokens of a source that a translator's steps ask, and of one that it encodes
TEXT_LENGTH = 64  # tokens of a text that is classified
_SEED = 0


@dataclass(frozen=True)
class Case:
    """One graph at one shape.

    Attributes:
        graph: its name.
        batch: rows.
        length: tokens of each; 0 for a step.
    """

    graph: str
    batch: int
    length: int = 0

    @property
    def is_decisive(self) -> bool:
        """Whether the choice depends on it: what a request spends its time in."""
        return self.graph in ("step", "classify")

    def __str__(self) -> str:
        """As a table shows it."""
        return f"{self.graph} {self.batch}" + (f" x {self.length}" if self.length else "")


def cases_of(bundle: Bundle) -> tuple[Case, ...]:
    """What is timed of a bundle, by its task."""
    match bundle.record.task:
        case "generation":
            return (*(Case("step", batch) for batch in BATCHES), Case("advance", 1, CHUNK), Case("advance", 16, CHUNK))
        case "translation":
            encodes = (Case("encode", 1, SOURCE_LENGTH), Case("encode", 16, SOURCE_LENGTH))
            return (*(Case("step", batch) for batch in BATCHES), *encodes)
        case "sentiment":
            return tuple(Case("classify", batch, TEXT_LENGTH) for batch in BATCHES)


def prepared(case: Case, bundle: Bundle, opened: OpenSet) -> Callable[[], object]:
    """A call that runs the case once, everything around it done.

    Raises:
        RunnerError: the backend cannot run the case.
    """
    rng = np.random.default_rng(_SEED)
    if case.graph == "step":
        return _step(case.batch, bundle, opened, rng)
    vocab_size = bundle.record.tokenizer.vocab_size
    ids, lengths = padded(rng.integers(vocab_size, size=(case.batch, case.length)).tolist())
    inputs: dict[str, NDArray[np.generic]] = {"ids": ids, "lengths": lengths}
    if case.graph == "advance":
        inputs["state"] = np.zeros((case.batch, bundle.record.state_width), np.float32)
    sequences = opened.sequences()
    return lambda: sequences.run(case.graph, inputs)


def _step(batch: int, bundle: Bundle, opened: OpenSet, rng: np.random.Generator) -> Callable[[], object]:
    """A step of rows that stay where they are; each has a source of its own in a translator."""
    tokens = rng.integers(bundle.record.tokenizer.vocab_size, size=batch)
    in_place = np.arange(batch)
    zeros = np.zeros(bundle.record.state_width, np.float32)
    if bundle.record.task == "generation":
        steps = opened.steps(2 * batch)
        for slot in range(batch):
            steps.put(slot, zeros)
        return lambda: steps.step(tokens, in_place)
    attention_steps = opened.attention_steps(2 * batch)
    widths = {"memory": bundle.record.memory_width or 0, "keys": bundle.record.keys_width or 0}
    for slot in range(batch):
        memory = {name: rng.standard_normal((SOURCE_LENGTH, width), np.float32) for name, width in widths.items()}
        attention_steps.put(slot, zeros, memory)
    return lambda: attention_steps.step(tokens, in_place)
