"""Thousands of random histories of the generation engine: every row's text is the one that it has alone."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from models.decoding.detokenizer import TokenTexts
from models.decoding.options import GenerationOptions
from models.decoding.penalties import penalty_row
from models.decoding.sampler import Sampler, sampling_row
from runtime.runner import Array
from server.engine.generation.request import Generation, TextOutput
from tests.models.decoding.plain_sampler import penalised
from tests.server.engine.generation.harness import (
    END,
    TEXTS,
    WIDE,
    Rig,
    continuation_of,
    generation_of,
    plain_logprobs,
    rig,
    same_output,
    session_of,
    state_after,
)
from tests.server.engine.history import Earlier, Key, Kind, Watched, run_histories
from tests.server.fake_runner import fake_logits, fake_next_state

NUM_KNOWN = 250  # requests of each vocabulary
STEM = random.Random(5).choices(range(1, 23), k=100)
BROKEN, NEVER = 5, -1  # tokens after which numbers are not finite


@dataclass(frozen=True)
class KnownRow:
    """One row, made alone.

    Attributes:
        output: what it gives; finish_reason is None where its numbers stop being finite.
        whole_tokens: of its answer.
        keys: of the states that it goes through, each with the token that is read next.
    """

    output: TextOutput
    whole_tokens: list[int]
    keys: frozenset[Key]


@dataclass(frozen=True)
class KnownText:
    """See Known."""

    prompts: list[list[int]]
    options: GenerationOptions
    seed: int
    is_streamed: bool
    num_read: int | None  # of a session
    rows: list[KnownRow]
    keys: frozenset[Key]

    @property
    def num_items(self) -> int:
        return len(self.prompts)

    @property
    def is_broken(self) -> bool:
        return any(row.output.finish_reason is None for row in self.rows)

    def check(self, outputs: Sequence[TextOutput]) -> bool:
        found: dict[int, TextOutput] = {}
        for output in outputs:
            before = found.get(output.choice_index)
            assert before is None or (before.finish_reason is None and self.is_streamed)
            found[output.choice_index] = output if before is None else output.merged_with_previous(before)
        for choice, output in found.items():
            wanted = self.rows[choice].output
            if output.finish_reason is None:
                assert wanted.text.startswith(output.text)
            else:
                same_output(output, wanted)
        return sum(output.finish_reason is not None for output in found.values()) == len(self.rows)


def known_row(
    prompt: list[int], options: GenerationOptions, seed: int, choice: int, texts: TokenTexts, broken: int
) -> KnownRow:
    """Make a row with nothing around it."""
    vocab_size = len(texts.token_bytes)
    keys: set[Key] = {(state_after(prompt[:i]).tobytes(), token) for i, token in enumerate(prompt)}
    state = state_after(prompt[:-1])[None]
    continuation = continuation_of(options, texts)
    row = sampling_row(options, seed=seed, choice=choice, position=len(prompt))
    token, sampler = prompt[-1], Sampler(END)
    has_penalties = penalty_row(options, np.array(prompt), vocab_size) is not None
    answer: list[int] = []
    has_ended = False
    while token != broken and not has_ended:
        state = fake_next_state(state, np.array([token]))
        logits = fake_logits(state, vocab_size)
        changed = logits
        if has_penalties:
            changed = np.array([penalised(list(logits[0]), prompt, answer, options)], np.float32)
        token = int(sampler.choose(changed, row)[0])
        answer.append(token)
        row["position"] += 1
        has_ended = continuation.extend([token], plain_logprobs(logits[0], token, options))
        if not has_ended:
            keys.add((state.tobytes(), token))
    reasons = continuation.finish_reason, continuation.stop_reason
    text, logprobs = continuation.take(), continuation.take_placed()
    output = TextOutput(choice, text, *reasons, continuation.num_tokens, logprobs)
    return KnownRow(output, continuation.whole_tokens(), frozenset(keys))


@cache
def known_text(number: int, texts: TokenTexts, broken: int) -> KnownText:
    """One of the requests, the same each time."""
    draw = random.Random(number)
    prompts = [some_prompt(draw) for _ in range(draw.choice([1, 1, 1, 3]))]
    options = some_options(draw)
    num_read = draw.randrange(len(prompts[0])) if len(prompts) == 1 and draw.random() < 0.3 else None
    if num_read is not None:
        options |= {"n": 1}
    checked = GenerationOptions(**options)
    rows = [
        known_row(prompt, checked, number, choice, texts, broken) for prompt in prompts for choice in range(checked.n)
    ]
    rows = [KnownRow(row.output._replace(choice_index=i), row.whole_tokens, row.keys) for i, row in enumerate(rows)]
    keys = frozenset().union(*(row.keys for row in rows))
    return KnownText(prompts, checked, number, draw.random() < 0.5, num_read, rows, keys)


def some_prompt(draw: random.Random) -> list[int]:
    """Most begin like others; some hold a token after which numbers are not finite, at their end or before it."""
    length = draw.choice([0, 0, 1, 2, 31, 32, 33, 64, 65, 96])
    prompt = [*STEM[:length], *draw.choices(range(1, 23), k=draw.choice([0, 1, 2, 8, 40]))] or [7]
    if draw.random() < 0.05:
        prompt.insert(draw.choice([len(prompt), draw.randrange(len(prompt))]), BROKEN)
    return prompt


def some_options(draw: random.Random) -> dict[str, Any]:
    """Half can run in windows: in the narrow vocabulary those with filters and log-probabilities too."""
    options: dict[str, Any] = {"max_tokens": draw.randint(1, 24), "n": draw.choice([1, 1, 1, 2, 4])}
    inside = {
        "temperature": draw.choice([0, 0.5, 2]),
        "min_p": 0.05,
        "stop": [draw.choice(["ab", "c", "生", "de", "\ufffd"])],
        "min_tokens": draw.randint(0, options["max_tokens"]),
        "top_k": draw.randint(1, 12),
        "top_p": draw.uniform(0.2, 1),
        "logprobs": draw.choice([0, 1, 5]),
    }
    outside = {
        "repetition_penalty": draw.choice([0.5, 1.3, 4]),
        "presence_penalty": draw.choice([-2, 0.7]),
        "frequency_penalty": draw.choice([-0.5, 1.5]),
        "logit_bias": {draw.randrange(23): draw.choice([-100, 3]) for _ in range(4)},
    }
    options |= {name: value for name, value in inside.items() if draw.random() < 0.25}
    if draw.random() < 0.5:
        options |= {name: value for name, value in outside.items() if draw.random() < 0.3}
    return options


class GenerationKind(Kind[KnownText]):
    def __init__(self, draw: random.Random) -> None:
        super().__init__(draw)
        self._texts = draw.choice([TEXTS, TEXTS, WIDE])
        self._broken = draw.choice([NEVER, NEVER, BROKEN])

    def world(self) -> AbstractAsyncContextManager[Rig]:
        draw = self.draw
        return rig(
            draw.choice([1, 4, 8, 64]),
            num_lanes=draw.choice([1, 1, 2, 3]),
            prefill_tokens=draw.choice([32, 64, 256]),
            prefill_max_rows=draw.choice([0, 4, 64]),
            forced_tokens=draw.choice([0, 16, 4096]),
            cache_bytes=draw.choice([0, 2000, 5000, 1 << 20]),
            max_steps=self.max_steps,
            has_decoder=draw.random() < 0.8,
            texts=self._texts,
        )

    def calls(self, world: Rig) -> Iterable[tuple[Any, str, Callable[..., Iterable[Key]]]]:
        for opened in world.sets:
            opened.break_at(self._broken)
            stepped: deque[list[Key]] = deque(maxlen=self.max_steps)  # rows of the last steps

            def of_step(
                tokens: Array, parents: Array, runner: Any = opened.step_runner, stepped: deque[list[Key]] = stepped
            ) -> list[Key]:
                states = [runner.get(parent).tobytes() for parent in parents.tolist()]
                stepped.append(list(zip(states, tokens.tolist(), strict=True)))
                return of_steps(stepped)

            def of_run(graph: str, inputs: Mapping[str, Array], stepped: deque[list[Key]] = stepped) -> list[Key]:
                if graph == "choose":
                    return of_steps(stepped)
                rows = zip(inputs["state"], inputs["ids"][:, 0].tolist(), strict=True)
                return [(state.tobytes(), token) for state, token in rows]

            def of_decode(
                num_rows: int, inputs: Mapping[str, Array], _: Sequence[str], runner: Any = opened.decode_runner
            ) -> list[Key]:
                tokens = inputs["token"].tolist()
                return [(runner.get(slot).tobytes(), tokens[slot]) for slot in range(num_rows)]

            def of_replay(state: Array, inputs: Mapping[str, Array]) -> list[Key]:
                return [(state.tobytes(), int(inputs["token"][0]))]

            yield opened.step_runner, "step", of_step
            yield opened.sequence_runner, "run", of_run
            yield opened.decode_runner, "decode", of_decode
            yield opened.decode_runner, "replay", of_replay

    def known(self) -> KnownText:
        return known_text(self.draw.randrange(NUM_KNOWN), self._texts, self._broken)

    def request(self, known: KnownText) -> Generation:
        if known.num_read is None:
            return generation_of(
                known.prompts, known.options, known.seed, is_streamed=known.is_streamed, texts=self._texts
            )
        generation, _ = session_of(
            known.prompts[0],
            known.options,
            known.seed,
            num_read=known.num_read,
            is_streamed=known.is_streamed,
            texts=self._texts,
        )
        return generation

    def check_end(self, watched: Watched[KnownText]) -> None:
        """A session has the states that reading its tokens one by one gives."""
        if watched.known.num_read is None:
            return
        (prompt,), tokens = watched.request.items, watched.known.prompts[0]
        whole = [*tokens, *watched.known.rows[0].whole_tokens]
        for state, read in ((prompt.state, tokens[:-1]), (prompt.last_state, whole[:-1])):
            assert (state is None) == (not read) or not state.any()
            if state is not None:
                assert state.tobytes() == state_after(read).tobytes()


def of_steps(stepped: deque[list[Key]]) -> list[Key]:
    """The rows of the last step, and those of the steps before it."""
    *before, last = stepped
    return [*last, *(Earlier(key) for keys in before for key in keys)]


def run(seeds: Iterable[int], least: int) -> None:
    counts = asyncio.run(run_histories(GenerationKind, seeds))
    assert set(counts) == {"answered", "cancelled", "broken", "failed", "stopped"}
    assert min(counts.values()) >= least, counts


def test_in_120_histories_every_row_has_its_own_text_and_every_request_one_end() -> None:
    run(range(120), 3)


@pytest.mark.slow
def test_in_3000_histories_every_row_has_its_own_text_and_every_request_one_end() -> None:
    run(range(1000, 4000), 100)
