"""A request as an engine sees it: what every request and its items have in common, and how a lane's outputs reach it.

Each request has a queue of outputs, and each lane a sender that fills them. While the event loop is busy with earlier
outputs, later ones gather and are delivered together, with at most one wake-up of the loop outstanding. So a loop that
keeps up sends every output by itself, and one that does not sends several at once instead of falling behind.
"""

import asyncio
import contextlib
import copy
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from models.errors import RequestError

Output = TypeVar("Output")


@dataclass(slots=True)
class Times:
    """When things happened to a request: readings of time.perf_counter, in seconds; 0 while it has not happened.

    Written by lane threads, read once the request is over.

    Attributes:
        began: the first runtime call that works on it was made.
        first_token: its first token was chosen.
    """

    began: float = 0.0
    first_token: float = 0.0

    def note_began(self) -> None:
        """A call that works on it is about to be made."""
        if not self.began:
            self.began = time.perf_counter()

    def note_first_token(self) -> None:
        """It has a token."""
        if not self.first_token:
            self.first_token = time.perf_counter()


class OutputQueue(Generic[Output]):
    """Where one request's outputs wait for the coroutine that answers it. Belongs to the event loop."""

    def __init__(self) -> None:
        self._outputs: list[Output] = []
        self._error: RequestError | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, output: Output | RequestError) -> None:
        """Add an output, or the error that ends the request; of several errors the first counts."""
        if isinstance(output, RequestError):
            self._error = self._error or output
        else:
            self._outputs.append(output)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> list[Output]:
        """All outputs since the last call; waits for the first.

        Raises:
            RequestError: the request has failed, or its client has left.
        """
        while not self._outputs and self._error is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise copy.copy(self._error)  # whose traceback holds this frame, and so the queue: not the other way round
        outputs, self._outputs = self._outputs, []
        return outputs


class OutputSender:
    """Carries a lane's outputs into the queues of an event loop.

    Any thread may post and flush: appending to a deque is atomic, and two threads that flush at once wake the loop
    twice at most, which is harmless. The outputs of one thread keep their order.

    Args:
        loop: the loop that the queues belong to.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._posted: deque[tuple[OutputQueue[Any], Any]] = deque()
        self._is_waking = False

    def post(self, queue: OutputQueue[Any], output: Any) -> None:
        """Add an output for a queue; `flush` sends it."""
        self._posted.append((queue, output))

    def flush(self) -> None:
        """Wake the loop if something was posted and it has not been woken already."""
        if self._posted and not self._is_waking:
            self._is_waking = True
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._posted:
            queue, output = self._posted.popleft()
            queue.put(output)
        self._loop.call_soon(self._end_delivery)  # after the coroutines that were just woken have run

    def _end_delivery(self) -> None:
        self._is_waking = False  # first, so that what is posted from here on wakes the loop itself
        if self._posted:
            self._is_waking = True
            self._loop.call_soon(self._deliver)


ItemT = TypeVar("ItemT", bound="HasTokens")
OutputT = TypeVar("OutputT")


class HasTokens(Protocol):
    """A prompt, source or text."""

    @property
    def num_tokens(self) -> int:
        """See EngineRequest."""


@dataclass(eq=False, slots=True, kw_only=True)
class EngineRequest(Generic[ItemT, OutputT]):
    """One request.

    Attributes:
        items: its prompts, sources or texts, which refer to it; cleared when it is over, so that it is freed at once.
        outputs: where its outputs and errors go.
        times: when things happened to it.
        id: what the log calls it.
    """

    items: list[ItemT] = field(default_factory=list)
    outputs: OutputQueue[OutputT] = field(default_factory=OutputQueue)
    times: Times = field(default_factory=Times)
    id: str = ""

    @property
    def num_tokens(self) -> int:
        """Tokens that it may need: of its texts, and the most of each answer, more for their log-probabilities."""
        return sum(item.num_tokens for item in self.items)


@dataclass(eq=False, slots=True, kw_only=True)
class ScheduledItem:
    """One prompt or source of a request, whose rows decode: its samples, or one beam.

    Attributes:
        request: that it belongs to.
        num_prefill: tokens that prefill calls may read.
        num_rows: rows that it has.
        width: slots that each of them takes.
        num_read: tokens that its state has read.
        needs_prefill: whether its rows join only when num_prefill tokens are read; the scheduler may set it.
        num_joined: rows that have joined the batch; the scheduler's.
        num_ended: rows that have ended; the scheduler's.
        is_over: cancelled, or all its rows have ended; the scheduler's.
        lane: the engine's.
    """

    request: EngineRequest[Any, Any]
    num_prefill: int
    num_rows: int = 1
    width: int = 1
    num_read: int = 0
    needs_prefill: bool = False
    num_joined: int = 0
    num_ended: int = 0
    is_over: bool = False
    lane: Any = None

    @property
    def num_slots(self) -> int:
        """Slots that all its rows take."""
        return self.num_rows * self.width
