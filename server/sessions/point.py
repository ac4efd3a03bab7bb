"""Where a session stands: its tokens, the state after all of them but the last, and where it stood before; how a call's
end becomes such a point, and how the engine that serves everybody reads tokens into a state.

Of a model of frames it holds these in place of tokens, and the state after all of them: nothing is pending.

The engine leaves a prompt's last token to a step, so a request for one token of `tokens` gives the state after all of
them but the last; the token itself is thrown away.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.decoding.continuation import Continuation
from models.decoding.detokenizer import TokenTexts
from models.decoding.options import GenerationOptions
from server.engine.generation.request import Generation

_OPTIONS = GenerationOptions(max_tokens=1, temperature=0)
_OBJECT_BYTES = 1000  # of a session besides its arrays, about
_MOST_MARKS = 8


class Mark(NamedTuple):
    """A state on the way."""

    num_read: int  # tokens that it has read
    row: NDArray[np.float32]  # [D], not to be changed


@dataclass(frozen=True, eq=False, slots=True)
class Point:
    """Immutable, arrays included; so a fork shares it."""

    tokens: NDArray[Any]  # int32 [length], from the first on; or frames, uint8 [length, bytes] (server.sessions.frames)
    row: NDArray[np.float32]  # [D], the state after all tokens but the pending one; the initial one before the first
    marks: tuple[Mark, ...] = ()  # after fewer of the tokens, at the ends of the latest calls, in order; to go back to
    num_pending: int = 1  # 1: the next call applies the last token; 0 for frames

    @classmethod
    def beginning(cls, state_width: int, frame_bytes: int | None = None) -> Self:
        """Before the first token; `state_width` is D. With the bytes of a frame, before the first frame."""
        row = np.zeros(state_width, np.float32)
        if frame_bytes is None:
            return cls(np.zeros(0, np.int32), row)
        return cls(np.zeros((0, frame_bytes), np.uint8), row, num_pending=0)

    @property
    def num_read(self) -> int:
        """Tokens that the row has read."""
        return max(len(self.tokens) - self.num_pending, 0)

    @property
    def bytes_per_token(self) -> int:
        """Memory that one more takes."""
        return self.tokens.dtype.itemsize * prod(self.tokens.shape[1:])

    @property
    def num_bytes(self) -> int:
        """Memory that a session at this point takes."""
        return self.tokens.nbytes + self.row.nbytes * (1 + len(self.marks)) + _OBJECT_BYTES

    def extended(self, tokens: NDArray[Any], row: NDArray[np.float32]) -> Self:
        """The point after a call: `tokens` begin with this one's; `row` is the state after all but the pending one."""
        marks = (*self.marks, Mark(self.num_read, self.row)) if self.num_read else ()
        return replace(self, tokens=tokens, row=row, marks=marks[-_MOST_MARKS:])

    def nearest(self, num_read: int) -> Mark:
        """The last state on the way that has read so many tokens or fewer; the initial one if no other is known."""
        marks = [mark for mark in (*self.marks, Mark(self.num_read, self.row)) if mark.num_read <= num_read]
        return marks[-1] if marks else Mark(0, np.zeros_like(self.row))

    def rewound(self, to: int, row: NDArray[np.float32]) -> Self:
        """The point after the first `to` tokens, whose row is given."""
        marks = tuple(mark for mark in self.marks if mark.num_read < to - self.num_pending)
        return replace(self, tokens=self.tokens[:to].copy(), row=row, marks=marks)


def point_after(generation: Generation, before: Point) -> Point:
    """Where a session stands after a call that has ended, its answer whole.

    Args:
        generation: of one prompt by `Generation.resume`; its last output has been taken from its queue.
        before: where the session stood.
    """
    (prompt,) = generation.items
    (continuation,) = prompt.continuations
    tokens = np.concatenate([prompt.tokens, np.array(continuation.whole_tokens(), np.int64)])
    row = np.zeros_like(before.row) if prompt.last_state is None else prompt.last_state
    return before.extended(tokens.astype(np.int32), row)


def reading(texts: TokenTexts, tokens: NDArray[np.integer], known: Mark) -> Generation:
    """What the engine is to be given to read tokens.

    Args:
        texts: of the model's tokens.
        tokens: [length], at least one more than `known` has read.
        known: a state on the way, from which it goes on.

    Returns:
        A request; once its queue has its one output, `state_of` gives the state.
    """
    generation = Generation(_OPTIONS, 0, is_streamed=False)
    continuation = Continuation(texts, _OPTIONS, None, None)
    generation.add_resumed_prompt(
        tokens.astype(np.int64), continuation, known.row, known.num_read, keeps_last_state=False
    )
    return generation


def state_of(generation: Generation, before: Point) -> NDArray[np.float32]:
    """The state after all tokens but the last of a request's prompt, float32 [D]; it has had its first step."""
    (prompt,) = generation.items
    return np.zeros_like(before.row) if prompt.state is None else prompt.state
