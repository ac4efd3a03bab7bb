"""One request to a model of frames as the engine sees it: rows of named arrays, each from a state of its own."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime.frames import Row
from runtime.runner import Array
from server.engine.request import EngineRequest, ScheduledItem


class FramesOutput(NamedTuple):
    """What came of one row.

    Attributes:
        number: which row of the request.
        outputs: by name, [length, ...] where each frame has one, else [...].
        state: float32 [D] after its last frame; D is 0 for a model without a state.
    """

    number: int
    outputs: dict[str, Array]
    state: NDArray[np.float32]


@dataclass(eq=False, slots=True)
class FramesRequest(EngineRequest["Frames", FramesOutput]):
    """One request.

    Attributes:
        keeps_state: whether a sequence goes on from the states that it leaves, so that they must be finite.
    """

    keeps_state: bool = False

    def add_row(self, inputs: Row, num_frames: int, state: NDArray[np.float32]) -> None:
        """Add a row of at least one frame, to be read from a state, float32 [D], which is not changed."""
        number = len(self.items)
        self.items.append(
            Frames(request=self, num_prefill=0, inputs=inputs, num_frames=num_frames, state=state, number=number)
        )


@dataclass(eq=False, slots=True, kw_only=True)
class Frames(ScheduledItem):
    """One row of a request. `num_read` of its frames have been read.

    Attributes:
        inputs: what is read.
        num_frames: its length.
        state: float32 [D], after `num_read` frames; not to be changed.
        number: its index in the request.
        found: by output, what the calls so far gave.
    """

    request: FramesRequest
    inputs: Row
    num_frames: int
    state: NDArray[np.float32]
    number: int
    found: dict[str, list[Array]] = field(default_factory=dict)

    @property
    def num_tokens(self) -> int:
        """See EngineRequest."""
        return self.num_frames
