"""Thousands of random histories of the classification engine: every text's logits are those that it has alone."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from runtime.runner import Array
from server.engine.classification.request import TextBatch, TextResult
from tests.server.engine.classification.test_engine import BAD, VOCAB_SIZE, Rig, plainly, rig
from tests.server.engine.history import Key, Kind, run_histories

NUM_KNOWN = 100


@dataclass(frozen=True)
class KnownTexts:
    """See Known."""

    texts: list[list[int]]
    logits: list[list[float]]
    keys: frozenset[Key]
    is_broken: bool

    @property
    def num_items(self) -> int:
        return len(self.texts)

    def check(self, outputs: Sequence[TextResult]) -> bool:
        assert len({output.number for output in outputs}) == len(outputs)
        for output in outputs:
            assert output.logits.tolist() == self.logits[output.number]
        return len(outputs) == len(self.texts)


@cache
def known_texts(number: int) -> KnownTexts:
    """One of the requests, the same each time; of some a text's numbers are not finite."""
    rng = np.random.default_rng(number)
    lengths = rng.integers(1, rng.choice([17, 70]), rng.choice([1, 1, 3, 10]))
    texts = [rng.integers(1, VOCAB_SIZE, length).tolist() for length in lengths]
    is_broken = bool(rng.random() < 0.1)
    if is_broken:
        texts[rng.integers(len(texts))][0] = BAD
    return KnownTexts(texts, [plainly(text) for text in texts], frozenset(map(tuple, texts)), is_broken)


class ClassificationKind(Kind[KnownTexts]):
    def world(self) -> AbstractAsyncContextManager[Rig]:
        draw = self.draw
        return rig(
            draw.choice([1, 4, 64]),
            draw.choice([16, 256, 8192]),
            num_lanes=draw.choice([1, 2, 3]),
            long_tokens=draw.choice([16, 64, 1024, 1 << 20]),
        )

    def calls(self, world: Rig) -> Iterable[tuple[Any, str, Callable[..., Iterable[Key]]]]:
        world.sequences.is_broken_at = BAD

        def of_run(_: str, inputs: Mapping[str, Array]) -> list[Key]:
            rows = zip(inputs["ids"].tolist(), inputs["lengths"].tolist(), strict=True)
            return [tuple(ids[:length]) for ids, length in rows]

        yield world.sequences, "run", of_run

    def known(self) -> KnownTexts:
        return known_texts(self.draw.randrange(NUM_KNOWN))

    def request(self, known: KnownTexts) -> TextBatch:
        request = TextBatch()
        for text in known.texts:
            request.add_text(text)
        return request


def run(seeds: Iterable[int], least: int) -> None:
    counts = asyncio.run(run_histories(ClassificationKind, seeds))
    assert set(counts) == {"answered", "cancelled", "broken", "failed", "stopped"}
    assert min(counts.values()) >= least, counts


def test_in_100_histories_every_text_has_its_own_logits_and_every_request_one_end() -> None:
    run(range(100), 3)


@pytest.mark.slow
def test_in_2000_histories_every_text_has_its_own_logits_and_every_request_one_end() -> None:
    run(range(1000, 3000), 100)
