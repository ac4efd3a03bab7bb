"""The states that a session is given: after its prompt but one token, and after the whole tokens of its answer but one.

They must be those that reading the tokens one by one gives, wherever in a window the answer ended.
"""

import asyncio
from typing import Any

import numpy as np
import pytest

from models.decoding.detokenizer import TokenTexts
from models.decoding.options import GenerationOptions
from server.errors import EngineError
from tests.server.engine.generation.harness import (
    BAD,
    TEXTS,
    WIDE,
    Rig,
    answer,
    plain_run,
    rig,
    same_output,
    session_of,
    state_after,
)


async def check(
    running: Rig,
    prompt: list[int],
    seed: int,
    *,
    num_read: int = 0,
    is_streamed: bool = False,
    **options: Any,
) -> None:
    """A session's answer and states are the plain ones."""
    checked, texts = GenerationOptions(**options), running.texts
    generation, found = session_of(prompt, checked, seed, num_read=num_read, is_streamed=is_streamed, texts=texts)
    running.engine.submit(generation)
    (output,) = await answer(generation)
    wanted, tokens = plain_run(prompt, checked, seed, 0, texts)
    same_output(output, wanted)
    assert found.state is not None or len(prompt) == 1
    if found.state is not None:
        np.testing.assert_array_equal(found.state, state_after(prompt[:-1]))
    whole = [*prompt, *tokens]
    if found.last_state is None:
        assert len(whole) == 1  # nothing was read but the initial state
    else:
        np.testing.assert_array_equal(found.last_state, state_after(whole[:-1]))


@pytest.mark.parametrize("has_decoder", [True, False])
@pytest.mark.parametrize("texts", [TEXTS, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize("max_steps", [1, 2, 8])
def test_states_are_the_plain_ones_however_the_answer_ends(
    texts: TokenTexts, has_decoder: bool, max_steps: int
) -> None:
    rng = np.random.default_rng(max_steps)

    async def main() -> None:
        async with rig(texts=texts, has_decoder=has_decoder, max_steps=max_steps) as running:
            tasks = []
            for seed in range(60):
                options: dict[str, Any] = {"max_tokens": int(rng.integers(1, 30))}
                if rng.random() < 0.5:
                    options["stop"] = [str(rng.choice(["a", "b", "生", "ab", "\ufffd", "c"])) for _ in range(3)]
                if rng.random() < 0.3:
                    options["logit_bias"] = {0: 3.0}  # the end token, soon
                if rng.random() < 0.3:
                    options["logprobs"] = 1
                if rng.random() < 0.3:
                    options["min_tokens"] = options["max_tokens"]
                prompt = rng.integers(1, 23, int(rng.choice([1, 2, 20, 33, 70]))).tolist()
                num_read = int(rng.integers(len(prompt))) if rng.random() < 0.5 else 0
                is_streamed = bool(rng.random() < 0.5)
                tasks.append(check(running, prompt, seed, num_read=num_read, is_streamed=is_streamed, **options))
            await asyncio.gather(*tasks)
            await running.until_idle()

    asyncio.run(main())


def test_a_stop_string_that_began_before_the_last_window_has_the_state_before_it() -> None:
    async def main() -> None:
        async with rig(max_steps=2) as running:
            options: dict[str, Any] = {"max_tokens": 40, "min_tokens": 40, "temperature": 0}
            wanted, _ = plain_run([6], GenerationOptions(**options), 1, 0)
            for start in range(1, 20):
                for length in (1, 2, 5, 9):
                    stop = wanted.text[start : start + length]
                    await check(running, [6], 1, max_tokens=40, temperature=0, stop=[stop])
            assert running.opened.sequence_runner.calls  # the state lay before the last window
            assert running.opened.decode_runner.num_replays  # it lay inside

    asyncio.run(main())


def test_a_session_whose_mate_fails_in_the_window_in_which_it_ends_has_its_own_state() -> None:
    async def main() -> None:
        async with rig() as running:
            running.opened.break_at(BAD)
            options = GenerationOptions(max_tokens=40, temperature=0)
            text = plain_run([6], options, 1, 0)[0].text
            running.opened.hold()
            blocker = running.submit([1], max_tokens=1)
            await running.until_running(1)
            bad = running.submit([BAD], n=2, max_tokens=40)  # in slots below and above the session's
            session = asyncio.create_task(check(running, [6], 1, max_tokens=40, temperature=0, stop=[text[3]]))
            await asyncio.sleep(0.01)
            running.opened.release()
            await answer(blocker)
            with pytest.raises(EngineError, match="not finite"):
                await answer(bad)
            await session

    asyncio.run(main())
