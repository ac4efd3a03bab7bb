"""Reading tokens into a state by the engine that serves everybody, in turn with its other requests.

The engine leaves a prompt's last token to a step, so a request for one token of `tokens` gives the state after all of
them but the last; the token itself is thrown away.
"""

import numpy as np
from numpy.typing import NDArray

from models.decoding.continuation import Continuation
from models.decoding.options import GenerationOptions
from server.engine.generation.request import Generation
from server.engine.generation.update import Update
from server.engine.mailbox import Mailbox
from server.served_model import ServedGeneration
from server.sessions.point import Point

_OPTIONS = GenerationOptions(max_tokens=1, temperature=0)


def reading(
    served: ServedGeneration,
    tokens: NDArray[np.integer],
    state: NDArray[np.float32] | None = None,
    num_read: int = 0,
    mailbox: Mailbox[Update] | None = None,
) -> Generation:
    """What the engine is to be given.

    Args:
        served: the model.
        tokens: [length], at least one more than num_read.
        state: float32 [D], after the first num_read tokens.
        num_read: 0 begins anew.
        mailbox: where its news go, if not to one of its own.

    Returns:
        A request; once its mailbox has its one update, `state_of` gives the state.
    """
    generation = Generation(_OPTIONS, 0, is_streamed=False, mailbox=mailbox or Mailbox())
    continuation = Continuation(served.token_texts, _OPTIONS, None, None)
    generation.resume(tokens.astype(np.int64), continuation, state, num_read)
    return generation


def state_of(served: ServedGeneration, generation: Generation) -> NDArray[np.float32]:
    """The state after all tokens but the last of a request's prompt, float32 [D]; it has had its first step."""
    (prompt,) = generation.prompts
    return np.zeros(served.model.state_width, np.float32) if prompt.state is None else prompt.state


async def point_after(served: ServedGeneration, generation: Generation, before: Point) -> Point:
    """Where a session stands after a call that has ended, its answer whole.

    Of an answer that ended by its length the runner holds the state already. Otherwise the end token, or what a stop
    string cut off, has been read too many, and the answer is read again from the end of its prompt.

    Args:
        served: the model.
        generation: of one prompt by `Generation.resume`; its last update has been taken from its mailbox.
        before: where the session stood.

    Raises:
        ApiError: the request failed meanwhile: its time was over, its client left, or the engine stopped.
    """
    (prompt,) = generation.prompts
    (continuation,) = prompt.continuations
    answer = continuation.whole_tokens()
    tokens = np.concatenate([prompt.tokens, np.array(answer, np.int64)])
    if len(answer) == continuation.num_tokens:
        assert prompt.last_state is not None
        row = prompt.last_state
    elif not answer:
        row = state_of(served, generation)
    else:
        again = reading(served, tokens, prompt.state, len(prompt.tokens) - 1, generation.mailbox)
        row = await state_read(served, again)
    return before.extended(tokens.astype(np.int32), row)


async def state_read(served: ServedGeneration, generation: Generation) -> NDArray[np.float32]:
    """Let the engine do what `reading` made; the state, float32 [D]. Raises ApiError."""
    served.engine.submit(generation)
    try:
        await generation.mailbox.take()
    except BaseException:
        served.engine.cancel(generation)
        raise
    return state_of(served, generation)
