"""The prefix cache over real graphs: with it every step continues from the same bits and gives the same bits."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from server.engine.delivery import LoopDelivery
from server.engine.generation.engine import GenerationEngine
from server.loaded_model import GenerationModel

from models.bundle import Bundle
from models.cells import CELL_KINDS, CellKind
from models.decoding.continuation import Continuation
from models.decoding.detokenizer import TokenTexts
from models.decoding.options import GenerationOptions
from runtime.runner import Array, StepRunner
from server.engine.generation.prefix_cache import PrefixCache
from server.engine.generation.request import Generation
from server.loading import load_models
from server.settings import Settings
from tests.server.engine.counts import Counts

MAX_ROWS = 4
OPTIONS = GenerationOptions(max_tokens=6, temperature=1.0)
Steps = list[tuple[bytes, int, bytes]]  # of each step: the state before it, the token, the logits


class Recording:
    """A step runner that keeps what it is asked and what it gives, one row at a time."""

    def __init__(self, runner: StepRunner) -> None:
        self._runner = runner
        self.capacity = runner.capacity
        self.steps: Steps = []

    def put(self, slot: int, row: NDArray[np.float32], memory: Any = None) -> None:
        self._runner.put(slot, row)
        self._put = {slot: row.copy()}  # until the next step the runner may not tell it

    def get(self, slot: int) -> NDArray[np.float32]:
        return self._runner.get(slot)

    def step(self, tokens: NDArray[np.int64], parents: NDArray[np.int64]) -> NDArray[np.float32]:
        ((token,), (parent,)) = tokens.tolist(), parents.tolist()
        before = self._put.get(parent, None)
        state = self._runner.get(parent) if before is None else before
        self._put = {}
        logits = self._runner.step(tokens, parents)
        self.steps.append((state.tobytes(), token, logits[0].tobytes()))
        return logits


class Reading:
    """A sequence runner that counts the tokens it reads."""

    def __init__(self, model: GenerationModel) -> None:
        self._runner = model.sequences
        self.num_tokens = 0

    def run(self, graph: str, inputs: Any) -> dict[str, Array]:
        self.num_tokens += int(inputs["lengths"].sum())
        return self._runner.run(graph, inputs)


async def asked(model: GenerationModel, prompts: list[list[int]], cache_bytes: int) -> tuple[list[Steps], list[int]]:
    """Ask one prompt after the other; each one's steps, and how many of its tokens were read."""
    recording, reading = Recording(model.steps), Reading(model)
    texts = TokenTexts(model.tokenizer.token_bytes)
    cache = PrefixCache(cache_bytes)
    engine = GenerationEngine(
        "real",
        recording,
        reading,
        state_width=model.state_width,
        vocab_size=model.tokenizer.vocab_size,
        end_id=None,
        max_rows=MAX_ROWS,
        prefill_tokens=512,
        prefill_share=0.5,
        stream_tokens=1,
        cache=cache,
        observer=Counts(),
    )
    engine.start(LoopDelivery(asyncio.get_running_loop()))
    steps, num_read = [], []
    try:
        for prompt in prompts:
            recording.steps, before = [], reading.num_tokens
            generation = Generation(OPTIONS, seed=7, is_streamed=False)
            generation.add_prompt(prompt, [Continuation(texts, OPTIONS, None, None)])
            engine.submit(generation)
            await generation.mailbox.take()
            assert cache.num_bytes <= cache_bytes
            steps.append(recording.steps)
            num_read.append(reading.num_tokens - before)
    finally:
        await asyncio.to_thread(engine.stop)
    return steps, num_read


@pytest.mark.parametrize("set_name", ["fp32", "int8"])
@pytest.mark.parametrize("kind", CELL_KINDS)
def test_hits_and_misses_step_from_the_same_bits_to_the_same_bits(
    built_bundle: Callable[[CellKind], Bundle], kind: CellKind, set_name: Any
) -> None:
    bundle = built_bundle(kind)
    settings = Settings(store=bundle.path.parent.parent, models=(bundle.id,), set=set_name, max_rows=MAX_ROWS)
    (model,) = load_models(settings)
    assert isinstance(model, GenerationModel)
    stem: list[int] = np.random.default_rng(2).integers(0, model.tokenizer.vocab_size, 130).tolist()
    beginnings = [stem[:length] for length in (1, 2, 31, 32, 33, 34, 64, 65, 66, 130)]  # of each other
    parting = [[*stem[:40], 1, 2, 3], stem[:64] + [5] * 40, [3, *stem[:70]]]
    prompts = [*beginnings, *parting, *reversed(beginnings), *parting]
    num_bytes = model.state_width * 4 + 600  # of one state

    plain, num_plain = asyncio.run(asked(model, prompts, 0))
    assert num_plain == [len(prompt) - 1 for prompt in prompts]
    for (first, *_), prompt in zip(plain, prompts, strict=True):
        assert first[1] == prompt[-1]  # the last token is applied by a step, once
    for cache_bytes in (num_bytes, 3 * num_bytes, 1 << 20):
        steps, num_read = asyncio.run(asked(model, prompts, cache_bytes))
        assert steps == plain, f"a cache of {cache_bytes} bytes"
        if cache_bytes == 1 << 20:
            assert not any(num_read[len(beginnings) + len(parting) :])  # all are known whole
            assert num_read[:10] == [0, 1, 30, 31, 32, 1, 31, 32, 1, 65]  # from the last whole chunk on
