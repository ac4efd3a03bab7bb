"""A translation engine over the fake model in an event loop of its own, and the same answers made one at a time."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from models.decoding.beam_search import BeamSearch, Hypothesis
from models.decoding.candidates import Candidates
from models.decoding.options import TranslationOptions
from models.decoding.sampler import Sampler, sampling_row
from server.engine.engine import Engine
from server.engine.scheduler import WindowLength
from server.engine.translation.lane import TranslationLane, TranslationScheduler
from server.engine.translation.request import Translation, TranslationOutput
from tests.server.engine.counts import Counts
from tests.server.fake_runner import FakeAttentionStepRunner, FakeOpenSet, FakeSequenceRunner

END = 0
VOCAB_SIZE = 23


@dataclass
class Rig:
    """An engine and the fakes of its lanes, by number."""

    engine: Engine[Translation]
    sets: list[FakeOpenSet]
    counts: Counts

    @property
    def opened(self) -> FakeOpenSet:
        """The fakes of the first lane."""
        return self.sets[0]

    def submit(self, *sources: list[int], is_streamed: bool = False, **options: Any) -> Translation:
        translation = translation_of(list(sources), TranslationOptions(**options), is_streamed=is_streamed)
        self.engine.submit(translation)
        return translation

    async def until_idle(self) -> None:
        while self.engine.gauges.num_running or self.engine.gauges.num_waiting:
            await asyncio.sleep(0.001)

    async def until_running(self, num_rows: int) -> None:
        while self.engine.gauges.num_running < num_rows:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def rig(
    max_rows: int = 16,
    encode_tokens: int = 256,
    *,
    num_lanes: int = 1,
    max_steps: int = 8,
    has_decoder: bool = True,
    has_beam_decoder: bool = True,
) -> AsyncIterator[Rig]:
    sets = [
        FakeOpenSet(VOCAB_SIZE, END, has_memory=True, has_decoder=has_decoder, has_beam_decoder=has_beam_decoder)
        for _ in range(num_lanes)
    ]
    counts = Counts()

    def lane(number: int) -> TranslationLane:
        opened = sets[number]
        return TranslationLane(
            f"fake {number}",
            TranslationScheduler(num_slots=max_rows, encode_tokens=encode_tokens, encode_share=0.5),
            WindowLength(max_steps, math.inf),
            steps=opened.attention_steps(2 * max_rows),
            sequences=opened.sequences(),
            decoder=opened.decoder(max_rows),
            beam_decoder=lambda beam_size: opened.beam_decoder(max_rows // beam_size, beam_size),
            observer=counts,
        )

    engine: Engine[Translation] = Engine(lane, num_lanes)
    engine.start(asyncio.get_running_loop())
    try:
        yield Rig(engine, sets, counts)
    finally:
        for opened in sets:
            opened.release()
        assert await asyncio.to_thread(engine.stop, 30)


def translation_of(sources: list[list[int]], options: TranslationOptions, *, is_streamed: bool = False) -> Translation:
    translation = Translation(options, options.seed or 0, is_streamed, keeps_attention=True)
    for tokens in sources:
        translation.add_source([*tokens, END], END)
    return translation


async def answer(translation: Translation) -> list[list[Hypothesis]]:
    """The results of each source; what was streamed has been compared with them."""
    found: dict[int, list[Hypothesis]] = {}
    streamed: dict[int, list[TranslationOutput]] = {}
    while len(found) < len(translation.items):
        for output in await translation.outputs.get():
            assert output.number not in found
            streamed.setdefault(output.number, []).append(output)
            if output.results is not None:
                found[output.number] = output.results
    for number, parts_sent in streamed.items():
        if translation.is_streamed:
            best = found[number][0]
            assert [token for output in parts_sent for token in output.ids] == best.ids
            parts = [output.attention for output in parts_sent if output.attention is not None]
            rows = [row.tolist() for part in parts for row in part]
            assert rows == best.attention[: len(best.ids)].tolist()
        else:
            assert len(parts_sent) == 1
    return [found[number] for number in range(len(translation.items))]


def plainly(tokens: list[int], options: TranslationOptions) -> list[Hypothesis]:
    """The same results, with nothing around the search but a runner of its own."""
    results = plain_results(tokens, options)
    assert results is not None
    return results


def plain_results(tokens: list[int], options: TranslationOptions, broken: int | None = None) -> list[Hypothesis] | None:
    """`plainly`; None if the search comes to a token after which numbers are not finite."""
    ids = np.zeros((1, -(-(len(tokens) + 1) // 16) * 16), np.int64)
    ids[0, : len(tokens)] = tokens
    length = len(tokens) + 1
    encoded = FakeSequenceRunner(VOCAB_SIZE).run("encode", {"ids": ids, "lengths": np.array([length], np.int32)})
    runner = FakeAttentionStepRunner(64, VOCAB_SIZE)
    runner.put(0, encoded["state"][0], {name: encoded[name][0, :length] for name in ("memory", "keys")})
    search = BeamSearch(options, end_id=END, source_length=length)
    parents = np.zeros(1, np.int64)
    sampled = options.sampling
    row = None if sampled is None else sampling_row(sampled, seed=options.seed or 0, choice=0, position=0)
    while not search.is_over:
        if broken in search.tokens.tolist():
            return None
        logits = runner.step(search.tokens, parents)
        if row is None:
            parents = search.advance(logits, runner.attention)
            continue
        token = int(Sampler(None).choose(logits, row)[0])
        row["position"] += 1
        log_p = np.float32(logits[0, token] - logits[0].max()) - np.log(np.exp(logits[0] - logits[0].max()).sum())
        found = Candidates(np.array([[token]]), np.array([[log_p]], np.float32))
        parents = search.extend(found, runner.attention)
    return search.results()


def same(found: list[list[Hypothesis]], sources: list[list[int]], options: TranslationOptions) -> None:
    for results, tokens in zip(found, sources, strict=True):
        same_results(results, plainly(tokens, options), options)


def same_results(results: list[Hypothesis], expected: list[Hypothesis], options: TranslationOptions) -> None:
    """Equal, but for the last digits of the scores of what was drawn, which are made in another order here."""
    assert [(it.ids, it.finish_reason) for it in results] == [(it.ids, it.finish_reason) for it in expected]
    scores = [it.score for it in expected]
    assert [it.score for it in results] == (pytest.approx(scores, rel=1e-5) if options.sampling else scores)
    for one, other in zip(results, expected, strict=True):
        assert np.array_equal(one.attention, other.attention)
