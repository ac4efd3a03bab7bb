"""Thousands of random histories of the translation engine: every source's results are those that it has alone."""

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from models.decoding.beam_search import Hypothesis
from models.decoding.options import TranslationOptions
from runtime.runner import Array
from server.engine.translation.request import Translation, TranslationOutput
from tests.server.engine.history import Key, Kind, run_histories
from tests.server.engine.translation.harness import (
    END,
    Rig,
    plain_results,
    rig,
    same_results,
    translation_of,
)
from tests.server.engine.translation.test_engine import some_options, some_source
from tests.server.fake_runner import fake_memory

NUM_KNOWN = 200
BROKEN, NEVER = 5, -1  # tokens after which numbers are not finite


@dataclass(frozen=True)
class KnownTranslation:
    """See Known."""

    sources: list[list[int]]
    options: TranslationOptions
    is_streamed: bool
    results: list[list[Hypothesis] | None]
    keys: frozenset[Key]

    @property
    def num_items(self) -> int:
        return len(self.sources)

    @property
    def is_broken(self) -> bool:
        return None in self.results

    def check(self, outputs: Sequence[TranslationOutput]) -> bool:
        found: dict[int, list[TranslationOutput]] = {}
        for output in outputs:
            parts = found.setdefault(output.number, [])
            assert not parts or (parts[-1].results is None and self.is_streamed)
            parts.append(output)
        for number, parts in found.items():
            wanted = self.results[number]
            if wanted is not None and self.is_streamed:
                ids = [token for part in parts for token in part.ids]
                rows = [row.tolist() for part in parts if part.attention is not None for row in part.attention]
                assert ids == wanted[0].ids[: len(ids)]
                assert rows == wanted[0].attention[: len(ids)].tolist()
            if parts[-1].results is not None:
                assert wanted is not None, "numbers were not finite, and there is a result"
                same_results(parts[-1].results, wanted, self.options)
        return sum(parts[-1].results is not None for parts in found.values()) == len(self.sources)


@cache
def known_translation(number: int, most: int, broken: int) -> KnownTranslation:
    """One of the requests with beams of so many at most, the same each time."""
    rng = np.random.default_rng(number)
    sources = [some_source(rng) for _ in range(rng.choice([1, 1, 3]))]
    options = TranslationOptions(**some_options(rng, most, 20))
    is_streamed = options.beam_size == 1 and bool(rng.random() < 0.5)
    results = [plain_results(source, options, broken) for source in sources]
    keys = {key for source in sources for key in (tuple(source), memory_key(source))}
    return KnownTranslation(sources, options, is_streamed, results, frozenset(keys))


def memory_key(source: list[int]) -> bytes:
    """Of a source's rows once it is encoded."""
    memory: bytes = fake_memory(np.array([[*source, END]]))["memory"].tobytes()
    return memory


class TranslationKind(Kind[KnownTranslation]):
    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self._max_rows = draw.choice([1, 4, 16, 64])
        self._broken = draw.choice([NEVER, NEVER, BROKEN])

    def world(self) -> AbstractAsyncContextManager[Rig]:
        draw = self.draw
        return rig(
            self._max_rows,
            draw.choice([16, 64, 256]),
            num_lanes=draw.choice([1, 1, 2, 3]),
            max_steps=self.max_steps,
            has_decoder=draw.random() < 0.8,
            has_beam_decoder=draw.random() < 0.7,
        )

    def calls(self, world: Rig) -> Iterable[tuple[Any, str, Callable[..., Iterable[Key]]]]:
        for opened in world.sets:
            for runner in opened.runners:
                runner.is_broken_after = self._broken

            def of_step(_: Array, parents: Array, runner: Any = opened.attention_step_runner) -> list[Key]:
                return [runner.memory_of(parent)["memory"].tobytes() for parent in parents.tolist()]

            def of_run(_: str, inputs: Mapping[str, Array]) -> list[Key]:
                rows = zip(inputs["ids"].tolist(), inputs["lengths"].tolist(), strict=True)
                return [tuple(ids[: length - 1]) for ids, length in rows]  # without the end token

            def of_decode(
                num_rows: int, _: Mapping[str, Array], __: Sequence[str], runner: Any = opened.decode_runner
            ) -> list[Key]:
                return [runner.memory_of(slot)["memory"].tobytes() for slot in range(num_rows)]

            for beam_runner in opened.beam_runners.values():
                yield beam_runner, "decode", partial(of_decode, runner=beam_runner)

            yield opened.attention_step_runner, "step", of_step
            yield opened.sequence_runner, "run", of_run
            yield opened.decode_runner, "decode", of_decode

    def known(self) -> KnownTranslation:
        return known_translation(self.draw.randrange(NUM_KNOWN), min(16, self._max_rows), self._broken)

    def request(self, known: KnownTranslation) -> Translation:
        return translation_of(known.sources, known.options, is_streamed=known.is_streamed)


def run(seeds: Iterable[int], least: int) -> None:
    counts = asyncio.run(run_histories(TranslationKind, seeds))
    assert set(counts) == {"answered", "cancelled", "broken", "failed", "stopped"}
    assert min(counts.values()) >= least, counts


def test_in_80_histories_every_source_has_its_own_results_and_every_request_one_end() -> None:
    run(range(80), 3)


@pytest.mark.slow
def test_in_2000_histories_every_source_has_its_own_results_and_every_request_one_end() -> None:
    run(range(1000, 3000), 100)
