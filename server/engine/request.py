"""What every request and its items have in common; each task adds its own fields."""

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from server.engine.outputs import OutputQueue, Times

ItemT = TypeVar("ItemT")
OutputT = TypeVar("OutputT")


@dataclass(eq=False, slots=True, kw_only=True)
class EngineRequest(Generic[ItemT, OutputT]):
    """One request.

    Attributes:
        items: its prompts, sources or texts, which refer to it; cleared when it is over, so that it is freed at once.
        outputs: where its outputs and errors go.
        times: when things happened to it.
    """

    items: list[ItemT] = field(default_factory=list)
    outputs: OutputQueue[OutputT] = field(default_factory=OutputQueue)
    times: Times = field(default_factory=Times)


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
