"""An engine over the fake model in an event loop of its own, and the same answers made plainly, one at a time."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from models.decoding.sampling_rows import SamplingRows, sampling_row
from numpy.typing import NDArray
from server.engine.delivery import LoopDelivery
from server.engine.generation.engine import GenerationEngine

from models.decoding.continuation import Continuation
from models.decoding.detokenizer import TokenTexts
from models.decoding.logprobs import TokenLogprob
from models.decoding.options import GenerationOptions
from models.decoding.penalties import penalty_row
from models.decoding.sampler import Sampler
from models.decoding.stop_strings import StopStrings
from server.engine.generation.prefix_cache import PrefixCache
from server.engine.generation.request import Generation
from server.engine.generation.request import TextOutput as Update
from tests.models.decoding.plain_sampler import penalised
from tests.server.engine.counts import Counts
from tests.server.fake_runner import (
    STATE_WIDTH,
    FakeSequenceRunner,
    FakeStepRunner,
    fake_logits,
    fake_next_state,
)

END = 0
TEXTS = TokenTexts([b"", *(bytes([byte]) for byte in range(ord("a"), ord("a") + 20)), "生".encode(), b"\xe7"])
VOCAB_SIZE = len(TEXTS.token_bytes)


@dataclass
class Rig:
    engine: GenerationEngine
    steps: FakeStepRunner
    sequences: FakeSequenceRunner
    counts: Counts

    def submit(self, *prompts: list[int], seed: int = 1, is_streamed: bool = False, **options: Any) -> Generation:
        generation = generation_of(list(prompts), GenerationOptions(**options), seed, is_streamed=is_streamed)
        self.engine.submit(generation)
        return generation

    async def until_idle(self) -> None:
        while self.engine.num_running or self.engine.num_waiting:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def rig(
    max_rows: int = 8, prefill_tokens: int = 64, cache_bytes: int = 1 << 20, stream_tokens: int = 1
) -> AsyncIterator[Rig]:
    steps, sequences = FakeStepRunner(2 * max_rows, VOCAB_SIZE), FakeSequenceRunner(VOCAB_SIZE)
    counts = Counts()
    engine = GenerationEngine(
        "fake",
        steps,
        sequences,
        state_width=STATE_WIDTH,
        vocab_size=VOCAB_SIZE,
        end_id=END,
        max_rows=max_rows,
        prefill_tokens=prefill_tokens,
        prefill_share=0.5,
        stream_tokens=stream_tokens,
        cache=PrefixCache(cache_bytes),
        observer=counts,
    )
    engine.start(LoopDelivery(asyncio.get_running_loop()))
    try:
        yield Rig(engine, steps, sequences, counts)
    finally:
        if steps.gate is not None:
            steps.gate.set()
        engine.stop()


def generation_of(
    prompts: list[list[int]], options: GenerationOptions, seed: int, *, is_streamed: bool = False
) -> Generation:
    generation = Generation(options, seed, is_streamed)
    for prompt in prompts:
        generation.add_prompt(prompt, [continuation_of(options) for _ in range(options.n)])
    return generation


def continuation_of(options: GenerationOptions, texts: TokenTexts = TEXTS, end_id: int = END) -> Continuation:
    return Continuation(texts, options, StopStrings(options.stop) if options.stop else None, end_id)


async def answer(generation: Generation) -> list[Update]:
    """All continuations of a request, their texts whole, by index."""
    total = len(generation.prompts) * generation.options.n
    whole: dict[int, Update] = {}
    while sum(update.finish_reason is not None for update in whole.values()) < total:
        for update in await generation.outputs.get():
            assert update.choice not in whole or whole[update.choice].finish_reason is None
            before = whole.get(update.choice)
            whole[update.choice] = update if before is None else update.after(before)
    return [whole[index] for index in range(total)]


def plainly(prompt: list[int], options: GenerationOptions, seed: int, choice: int) -> Update:
    """The same continuation, with nothing around it."""
    return plain_run(prompt, options, seed, choice)[0]


def plain_states(prompt: list[int]) -> list[NDArray[np.float32]]:
    """The states before each of a prompt's tokens, [1, STATE_WIDTH] each."""
    return [_state_after(tuple(prompt[:number])) for number in range(len(prompt))]


@lru_cache(maxsize=10_000)
def _state_after(tokens: tuple[int, ...]) -> NDArray[np.float32]:
    if not tokens:
        return np.zeros((1, STATE_WIDTH), np.float32)
    return fake_next_state(_state_after(tokens[:-1]), np.array(tokens[-1:]))


def plain_run(
    prompt: list[int],
    options: GenerationOptions,
    seed: int,
    choice: int,
    texts: TokenTexts = TEXTS,
    end_id: int = END,
) -> tuple[Update, list[tuple[NDArray[np.float32], int]]]:
    """`plainly`, and what each step continued from and was fed: a state [STATE_WIDTH] and a token."""
    vocab_size = len(texts.token_bytes)
    state = plain_states(prompt)[-1]
    continuation = continuation_of(options, texts, end_id)
    row = SamplingRows(sampling_row(options, seed=seed, choice=choice, position=len(prompt)))
    token, sampler = prompt[-1], Sampler(end_id)
    has_penalties = penalty_row(options, np.array(prompt), vocab_size) is not None
    answer: list[int] = []
    steps = []
    while True:
        steps.append((state[0], token))
        state = fake_next_state(state, np.array([token]))
        logits = fake_logits(state, vocab_size)
        changed = (
            np.array([penalised(list(logits[0]), prompt, answer, options)], np.float32) if has_penalties else logits
        )
        token = int(sampler.choose(changed, row)[0])
        answer.append(token)
        row.advance()
        if options.logprobs is not None:
            log_sum = math.log(sum(math.exp(logit) for logit in logits[0].tolist()))
            ranked = sorted(range(vocab_size), key=lambda i: (-logits[0, i], i))[: options.logprobs]
            top = tuple((i, float(logits[0, i]) - log_sum) for i in ranked)
            continuation.place(TokenLogprob(token, float(logits[0, token]) - log_sum, top))
        if continuation.extend([token]):
            reasons = continuation.finish_reason, continuation.stop_reason
            text, logprobs = continuation.take(), continuation.take_placed()
            return Update(choice, text, *reasons, continuation.num_tokens, logprobs), steps
