"""The engine of one model: lanes, made when they are first needed, and the choice of a lane for each item of a request.

Belongs to the event loop. Token ids in, outputs in queues out; knows no HTTP.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from server.engine.generation.prefix_cache import PrefixCache
from server.engine.lane import STOPPED_MESSAGE, Lane
from server.engine.request import EngineRequest, OutputSender
from server.errors import ApiError, UnavailableError


class Gauges(NamedTuple):
    """How an engine is.

    Attributes:
        num_running: slots of rows that are computed together now, of all lanes.
        num_waiting: slots of rows that wait for their turn.
        cache_bytes: bytes that the prefix cache takes.
        cache_evictions: states that it has evicted.
    """

    num_running: int = 0
    num_waiting: int = 0
    cache_bytes: int = 0
    cache_evictions: int = 0


Request = TypeVar("Request", bound=EngineRequest[Any, Any])


def earliest(times: Iterable[float]) -> float:
    """The earliest of these times, of which 0 is none; 0 if there is none."""
    return min((each for each in times if each), default=0.0)


class AnyEngine(Protocol):
    """What the server needs of a model's engine; see Engine."""

    @property
    def gauges(self) -> Gauges:
        """How it is now."""

    @property
    def is_alive(self) -> bool:
        """Whether no lane has ended."""

    @property
    def busy_since(self) -> float:
        """When the lane that has been busy longest began what it is doing, on time.monotonic's clock; 0: none is."""

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start it."""

    def submit(self, request: Any) -> None:
        """Take a request. Raises ApiError."""

    def cancel(self, request: Any) -> None:
        """Drop a request."""

    def stop(self, seconds: float) -> bool:
        """End it; whether it has ended."""


class Engine(Generic[Request]):
    """Runs one model.

    Args:
        make_lane: gives the lane of a number, from 0; not started.
        max_lanes: lanes that are made at most, at least 1.
        cache: the lanes' prefix cache, for the gauges.
    """

    def __init__(
        self, make_lane: Callable[[int], Lane[Any, Any]], max_lanes: int, cache: PrefixCache | None = None
    ) -> None:
        self._make_lane = make_lane
        self._max_lanes = max_lanes
        self._cache = cache
        self._lanes: list[Lane[Any, Any]] = []
        self._is_stopped = False
        self._loop: asyncio.AbstractEventLoop

    @property
    def gauges(self) -> Gauges:
        """How it is now."""
        return Gauges(
            sum(lane.num_running for lane in self._lanes),
            sum(lane.num_waiting for lane in self._lanes),
            *((self._cache.num_bytes, self._cache.num_evicted) if self._cache is not None else ()),
        )

    @property
    def is_alive(self) -> bool:
        """Whether no lane has ended."""
        return all(lane.is_alive for lane in self._lanes)

    @property
    def busy_since(self) -> float:
        """See AnyEngine."""
        return earliest(lane.busy_since for lane in self._lanes)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the first lane; outputs go to queues of this loop."""
        self._loop = loop
        self._add_lane()

    def submit(self, request: Request) -> None:
        """Take a request: each item goes to the lane with the least work.

        Raises:
            UnavailableError: the engine has been stopped.
            EngineError: a lane has ended by itself.
        """
        if self._is_stopped:
            raise UnavailableError(STOPPED_MESSAGE, code="draining")
        try:
            for item in request.items:
                lane = min(self._lanes, key=lambda lane: lane.load)
                if lane.load and len(self._lanes) < self._max_lanes:
                    lane = self._add_lane()
                lane.submit(item)
                item.lane = lane
        except ApiError:
            self.cancel(request)
            raise

    def cancel(self, request: Request) -> None:
        """Drop what is not over of a request; its rows are free before the next calls."""
        for item in request.items:
            if item.lane is not None:
                item.lane.cancel(item)

    def stop(self, seconds: float) -> bool:
        """End all lanes, waiting at most `seconds`; requests that are not over fail with UnavailableError.

        Returns:
            Whether all lanes have ended.
        """
        self._is_stopped = True
        deadline = time.monotonic() + seconds
        for lane in self._lanes:
            lane.stop()
        have_ended = [lane.join(max(0.0, deadline - time.monotonic())) for lane in self._lanes]  # all are joined
        return all(have_ended)

    def _add_lane(self) -> Lane[Any, Any]:
        lane = self._make_lane(len(self._lanes))
        lane.start(OutputSender(self._loop))
        self._lanes.append(lane)
        return lane
