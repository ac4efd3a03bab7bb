"""A translation engine over the fake model in an event loop of its own, and the same answers made one at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from models.decoding.sampling_rows import SamplingRows, sampling_row
from server.engine.delivery import LoopDelivery
from server.engine.translation.engine import TranslationEngine

from models.decoding.beam_search import BeamSearch, Hypothesis
from models.decoding.candidates import Candidates
from models.decoding.options import TranslationOptions
from models.decoding.sampler import Sampler
from server.engine.translation.request import Progress, Translation
from tests.server.engine.counts import Counts
from tests.server.engine.lockstep import Key, attention_key, source_key
from tests.server.fake_runner import FakeAttentionStepRunner, FakeSequenceRunner

END = 0
VOCAB_SIZE = 23


@dataclass
class Rig:
    engine: TranslationEngine
    steps: FakeAttentionStepRunner
    sequences: FakeSequenceRunner
    counts: Counts

    def submit(self, *sources: list[int], is_streamed: bool = False, **options: Any) -> Translation:
        translation = translation_of(list(sources), TranslationOptions(**options), is_streamed=is_streamed)
        self.engine.submit(translation)
        return translation

    async def until_idle(self) -> None:
        while self.engine.num_running or self.engine.num_waiting:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def rig(max_rows: int = 16, encode_tokens: int = 256) -> AsyncIterator[Rig]:
    steps, sequences = FakeAttentionStepRunner(2 * max_rows, VOCAB_SIZE), FakeSequenceRunner(VOCAB_SIZE)
    counts = Counts()
    engine = TranslationEngine(
        "fake",
        steps,
        sequences,
        max_rows=max_rows,
        encode_tokens=encode_tokens,
        encode_share=0.5,
        observer=counts,
    )
    engine.start(LoopDelivery(asyncio.get_running_loop()))
    try:
        yield Rig(engine, steps, sequences, counts)
    finally:
        for runner in (steps, sequences):
            if runner.gate is not None:
                runner.gate.set()
        engine.stop()


def translation_of(sources: list[list[int]], options: TranslationOptions, *, is_streamed: bool = False) -> Translation:
    translation = Translation(options, options.seed or 0, is_streamed, keeps_attention=True)
    for tokens in sources:
        translation.add_source([*tokens, END], END)
    return translation


async def answer(translation: Translation) -> list[list[Hypothesis]]:
    """The results of each source; what was streamed has been compared with them."""
    found: dict[int, list[Hypothesis]] = {}
    streamed: dict[int, list[Progress]] = {}
    while len(found) < len(translation.sources):
        for progress in await translation.mailbox.take():
            assert progress.number not in found
            streamed.setdefault(progress.number, []).append(progress)
            if progress.results is not None:
                found[progress.number] = progress.results
    for number, news in streamed.items():
        if translation.is_streamed:
            best = found[number][0]
            assert [token for progress in news for token in progress.ids] == best.ids
            rows = [row.tolist() for progress in news for row in progress.attention]
            assert rows == best.attention[: len(best.ids)].tolist()
        else:
            assert len(news) == 1
    return [found[number] for number in range(len(translation.sources))]


def plainly(tokens: list[int], options: TranslationOptions) -> list[Hypothesis]:
    """The same results, with nothing around the search but a runner of its own."""
    return plain_run(tokens, options)[0]


def plain_run(tokens: list[int], options: TranslationOptions) -> tuple[list[Hypothesis], list[Key]]:
    """`plainly`, and what its calls' rows are known by."""
    ids = np.zeros((1, -(-(len(tokens) + 1) // 16) * 16), np.int64)
    ids[0, : len(tokens)] = tokens
    length = len(tokens) + 1
    encoded = FakeSequenceRunner(VOCAB_SIZE).run("encode", {"ids": ids, "lengths": np.array([length], np.int32)})
    runner = FakeAttentionStepRunner(64, VOCAB_SIZE)
    runner.put(0, encoded["state"][0], {name: encoded[name][0, :length] for name in ("memory", "keys")})
    search = BeamSearch(options, end_id=END, source_length=length)
    parents = np.zeros(1, np.int64)
    drawing = options.sampling
    rows = None if drawing is None else sampling_row(drawing, seed=options.seed or 0, choice=0, position=0)
    keys = [source_key([*tokens, END])]
    while not search.is_over:
        keys += [attention_key(runner, p, t) for p, t in zip(parents.tolist(), search.tokens.tolist(), strict=True)]
        logits = runner.step(search.tokens, parents)
        if rows is not None:
            token = int(Sampler(None).choose(logits, SamplingRows(rows))[0])
            rows["position"] += 1
            log_p = np.float32(logits[0, token] - logits[0].max()) - np.log(np.exp(logits[0] - logits[0].max()).sum())
            found = Candidates(np.array([[token]]), np.array([[log_p]], np.float32))
            parents = search.extend(found, runner.attention)
        else:
            parents = search.advance(logits, runner.attention)
    return search.results(), keys


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
