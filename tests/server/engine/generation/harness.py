"""An engine over the fake model in an event loop of its own, and the same answers made plainly, one at a time."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.decoding.continuation import Continuation
from models.decoding.detokenizer import TokenTexts
from models.decoding.logprobs import Logprobs
from models.decoding.options import GenerationOptions
from models.decoding.penalties import penalty_row
from models.decoding.sampler import Sampler, sampling_row
from models.decoding.stop_strings import StopStrings
from server.engine.engine import Engine
from server.engine.generation.lane import GenerationLane, GenerationScheduler
from server.engine.generation.prefix_cache import PrefixCache
from server.engine.generation.request import Generation, Prompt, TextOutput
from server.engine.scheduler import WindowLength
from tests.models.decoding.plain_sampler import penalised
from tests.server.engine.counts import Counts
from tests.server.fake_runner import STATE_WIDTH, FakeOpenSet, fake_logits, fake_next_state

END = 0
_NARROW = [b"", *(bytes([byte]) for byte in range(ord("a"), ord("a") + 20)), "生".encode(), b"\xe7"]
TEXTS = TokenTexts(_NARROW)
WIDE = TokenTexts([*_NARROW, *(f"{i:x}".encode() for i in range(300))])  # filters and logprobs are chosen outside
VOCAB_SIZE = len(TEXTS.token_bytes)
BAD = 500  # a token that is in no vocabulary, so that only a prompt can hold it


@dataclass
class Rig:
    """An engine and the fakes of its lanes, by number."""

    engine: Engine[Generation]
    sets: list[FakeOpenSet]
    counts: Counts
    texts: TokenTexts

    @property
    def opened(self) -> FakeOpenSet:
        """The fakes of the first lane."""
        return self.sets[0]

    def submit(self, *prompts: list[int], seed: int = 1, is_streamed: bool = False, **options: Any) -> Generation:
        checked = GenerationOptions(**options)
        generation = generation_of(list(prompts), checked, seed, is_streamed=is_streamed, texts=self.texts)
        self.engine.submit(generation)
        return generation

    async def until_idle(self) -> None:
        while self.engine.gauges.num_running or self.engine.gauges.num_waiting:
            await asyncio.sleep(0.001)

    async def until_running(self, num_rows: int) -> None:
        while self.engine.gauges.num_running < num_rows:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def rig(
    max_rows: int = 8,
    *,
    num_lanes: int = 1,
    prefill_tokens: int = 64,
    prefill_share: float = 0.5,
    prefill_max_rows: int = 4,
    forced_tokens: int = 16,
    cache_bytes: int = 1 << 20,
    max_steps: int = 8,
    has_decoder: bool = True,
    texts: TokenTexts = TEXTS,
) -> AsyncIterator[Rig]:
    vocab_size = len(texts.token_bytes)
    sets = [FakeOpenSet(vocab_size, END, has_decoder=has_decoder) for _ in range(num_lanes)]
    cache, counts = PrefixCache(cache_bytes), Counts()

    def lane(number: int) -> GenerationLane:
        opened = sets[number]
        return GenerationLane(
            f"fake {number}",
            GenerationScheduler(
                num_slots=max_rows,
                prefill_tokens=prefill_tokens,
                prefill_share=prefill_share,
                prefill_max_rows=prefill_max_rows,
                forced_tokens=forced_tokens,
            ),
            WindowLength(max_steps, math.inf),
            steps=opened.steps(2 * max_rows),
            sequences=opened.sequences(),
            decoder=opened.decoder(max_rows),
            chooser=opened.sequences() if opened.has("choose") else None,
            beam_steps=lambda: opened.beam_step_runner,
            state_width=STATE_WIDTH,
            vocab_size=vocab_size,
            end_id=END,
            cache=cache,
            observer=counts,
        )

    engine: Engine[Generation] = Engine(lane, num_lanes, cache)
    engine.start(asyncio.get_running_loop())
    try:
        yield Rig(engine, sets, counts, texts)
    finally:
        for opened in sets:
            opened.release()
        assert await asyncio.to_thread(engine.stop, 30)


def generation_of(
    prompts: list[list[int]],
    options: GenerationOptions,
    seed: int,
    *,
    is_streamed: bool = False,
    texts: TokenTexts = TEXTS,
) -> Generation:
    generation = Generation(options, seed, is_streamed)
    for prompt in prompts:
        generation.add_prompt(prompt, [continuation_of(options, texts) for _ in range(options.n)])
    return generation


def session_of(
    prompt: list[int],
    options: GenerationOptions,
    seed: int,
    *,
    num_read: int = 0,
    is_streamed: bool = False,
    texts: TokenTexts = TEXTS,
) -> tuple[Generation, Prompt]:
    """A request whose states are kept, and of whose prompt so many tokens have been read."""
    generation = Generation(options, seed, is_streamed)
    state = state_after(prompt[:num_read])
    tokens = np.array(prompt, np.int64)
    return generation, generation.add_resumed_prompt(tokens, continuation_of(options, texts), state, num_read)


def continuation_of(options: GenerationOptions, texts: TokenTexts = TEXTS, end_id: int = END) -> Continuation:
    return Continuation(texts, options, StopStrings(options.stop) if options.stop else None, end_id)


async def answer(generation: Generation) -> list[TextOutput]:
    """All continuations of a request, their texts whole, by index."""
    total = len(generation.items) * generation.options.n
    whole: dict[int, TextOutput] = {}
    while sum(output.finish_reason is not None for output in whole.values()) < total:
        for output in await generation.outputs.get():
            before = whole.get(output.choice_index)
            assert before is None or before.finish_reason is None
            whole[output.choice_index] = output if before is None else output.merged_with_previous(before)
    return [whole[index] for index in range(total)]


def state_after(tokens: list[int]) -> NDArray[np.float32]:
    """The state after these tokens, float32 [STATE_WIDTH]."""
    state: NDArray[np.float32] = _state_after(tuple(tokens))[0]
    return state


@lru_cache(maxsize=20_000)
def _state_after(tokens: tuple[int, ...]) -> NDArray[np.float32]:
    if not tokens:
        return np.zeros((1, STATE_WIDTH), np.float32)
    return fake_next_state(_state_after(tokens[:-1]), np.array(tokens[-1:]))


def plainly(
    prompt: list[int], options: GenerationOptions, seed: int, choice: int, texts: TokenTexts = TEXTS
) -> TextOutput:
    """The same continuation, with nothing around it."""
    return plain_run(prompt, options, seed, choice, texts)[0]


def plain_run(
    prompt: list[int],
    options: GenerationOptions,
    seed: int,
    choice: int,
    texts: TokenTexts = TEXTS,
    end_id: int = END,
) -> tuple[TextOutput, list[int]]:
    """`plainly`, and the whole tokens of the answer."""
    vocab_size = len(texts.token_bytes)
    state = state_after(prompt[:-1])[None]
    continuation = continuation_of(options, texts, end_id)
    row = sampling_row(options, seed=seed, choice=choice, position=len(prompt))
    token, sampler = prompt[-1], Sampler(end_id)
    has_penalties = penalty_row(options, np.array(prompt), vocab_size) is not None
    answer: list[int] = []
    while True:
        state = fake_next_state(state, np.array([token]))
        logits = fake_logits(state, vocab_size)
        changed = (
            np.array([penalised(list(logits[0]), prompt, answer, options)], np.float32) if has_penalties else logits
        )
        token = int(sampler.choose(changed, row)[0])
        answer.append(token)
        row["position"] += 1
        if continuation.extend([token], plain_logprobs(logits[0], token, options)):
            reasons = continuation.finish_reason, continuation.stop_reason
            text, placed = continuation.take(), continuation.take_placed()
            output = TextOutput(choice, text, *reasons, continuation.num_tokens, placed)
            return output, continuation.whole_tokens()


def plain_logprobs(logits: NDArray[np.float32], token: int, options: GenerationOptions) -> Logprobs | None:
    """Of one token; float32 [V]."""
    if options.logprobs is None:
        return None
    log_sum = math.log(sum(map(math.exp, logits.tolist())))
    ranked = sorted(range(len(logits)), key=lambda i: (-logits[i], i))[: options.logprobs]
    found = logits.astype(np.float64) - log_sum
    return Logprobs(np.array([token]), found[[token]], np.array([ranked], np.int64), found[None, ranked])


def same_output(found: TextOutput, wanted: TextOutput) -> None:
    """Equal, but for the last digits of log-probabilities, which are made in another order here."""
    assert found._replace(logprobs=None) == wanted._replace(logprobs=None)
    assert (found.logprobs is None) == (wanted.logprobs is None)
    if found.logprobs is not None and wanted.logprobs is not None:
        np.testing.assert_array_equal(found.logprobs.offsets, wanted.logprobs.offsets)
        for one, other in zip(found.logprobs.found, wanted.logprobs.found, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)
