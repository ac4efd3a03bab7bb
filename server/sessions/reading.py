"""Reading tokens into a state by the engine that serves everybody, in turn with its other requests.

The engine leaves a prompt's last token to a step, so a request for one token of `tokens` gives the state after all of
them but the last; the token itself is thrown away.
"""

import numpy as np
from numpy.typing import NDArray

from models.decoding.continuation import Continuation
from models.decoding.options import GenerationOptions
from server.endpoint import Endpoint
from server.engine.generation.request import Generation
from server.sessions.point import Point

_OPTIONS = GenerationOptions(max_tokens=1, temperature=0)


def reading(
    endpoint: Endpoint,
    tokens: NDArray[np.integer],
    state: NDArray[np.float32] | None = None,
    num_read: int = 0,
) -> Generation:
    """What the engine is to be given.

    Args:
        endpoint: the model.
        tokens: [length], at least one more than num_read.
        state: float32 [D], after the first num_read tokens.
        num_read: 0 begins anew.

    Returns:
        A request; once its queue has its one output, `state_of` gives the state.
    """
    generation = Generation(_OPTIONS, 0, is_streamed=False)
    continuation = Continuation(endpoint.token_texts, _OPTIONS, None, None)
    generation.add_resumed_prompt(tokens.astype(np.int64), continuation, state, num_read, keeps_last_state=False)
    return generation


def state_of(endpoint: Endpoint, generation: Generation) -> NDArray[np.float32]:
    """The state after all tokens but the last of a request's prompt, float32 [D]; it has had its first step."""
    (prompt,) = generation.items
    return np.zeros(endpoint.info.state_width, np.float32) if prompt.state is None else prompt.state


def point_after(generation: Generation, before: Point) -> Point:
    """Where a session stands after a call that has ended, its answer whole.

    Args:
        generation: of one prompt by `Generation.add_resumed_prompt`; its last output has been taken from its queue.
        before: where the session stood.
    """
    (prompt,) = generation.items
    (continuation,) = prompt.continuations
    tokens = np.concatenate([prompt.tokens, np.array(continuation.whole_tokens(), np.int64)])
    row = np.zeros_like(before.row) if prompt.last_state is None else prompt.last_state
    return before.extended(tokens.astype(np.int32), row)
