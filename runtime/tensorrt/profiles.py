"""Which shapes an engine is built for: optimization profiles, derived from what the server asks of each graph.

Step graphs have one profile for each batch bucket, its batch fixed: one context and one CUDA graph belong to each, and
kernels are chosen for that batch. Sequence graphs have ranges: short sequences in large batches, long ones in small.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from models.errors import ConfigError
from models.tasks import TaskName
from runtime.buckets import buckets_up_to
from runtime.padding import MULTIPLE, padded_length

Shape = tuple[int, ...]
CHUNK = 32  # prompt tokens that the server reads in one call
_SHORT = 128  # sequences up to this length have a profile of their own
# The graphs that the server runs.
MAX_LENGTHS = {"generation": CHUNK, "translation": 1024, "sentiment": 8192}  # what the server admits by default
SERVED = {"generation": ("step", "advance"), "translation": ("step", "encode"), "sentiment": ("classify",)}


@dataclass(frozen=True)
class Range:
    """The shapes of one input: smallest, the one that kernels are chosen for, largest."""

    smallest: Shape
    typical: Shape
    largest: Shape


Profile = Mapping[str, Range]


@dataclass(frozen=True)
class Limits:
    """The most that engines are built for.

    Attributes:
        max_batch: rows stepped, or sequences read, together.
        max_length: positions of a source or a text; other graphs do not need it.
        max_tokens: tokens, padding counted, of one call of a sequence graph with long sequences.
    """

    max_batch: int = 64
    max_length: int = 1024
    max_tokens: int = 16_384

    def __post_init__(self) -> None:
        """Raises ConfigError for a number that is not allowed."""
        for name, value, most in (("max_batch", self.max_batch, 4096), ("max_length", self.max_length, 1 << 20)):
            if not 1 <= value <= most:
                raise ConfigError(f"{name} is {value}; allowed are 1 to {most}.")


@dataclass(frozen=True)
class Widths:
    """Numbers in a row: D of the state, M of a memory, A of its keys; 0 where the model has none."""

    state: int
    memory: int = 0
    keys: int = 0


def profiles_of(task: TaskName, graph: str, widths: Widths, limits: Limits) -> tuple[Profile, ...]:
    """The profiles of one graph.

    Args:
        task: the bundle's.
        graph: one of SERVED[task].
        widths: the bundle's.
        limits: the most that is asked.

    Returns:
        At least one profile; a shape's profile is the first that holds it.
    """
    longest = padded_length(limits.max_length)
    if graph == "step":
        sizes = buckets_up_to(limits.max_batch)
        return tuple(_step_profile(task, size, longest, widths) for size in sizes)
    if task == "generation":
        return (_sequences((1, limits.max_batch), (1, CHUNK), state=widths.state),)
    short = _sequences((1, limits.max_batch), (MULTIPLE, min(longest, _SHORT)))
    if longest <= _SHORT:
        return (short,)
    rows = max(1, min(limits.max_batch, limits.max_tokens // longest))
    return (short, _sequences((1, rows), (_SHORT + MULTIPLE, longest)))


def _step_profile(task: TaskName, batch: int, longest: int, widths: Widths) -> Profile:
    profile = {"token": _fixed(batch), "state": _fixed(batch, widths.state)}
    if task == "translation":
        typical = min(longest, 4 * MULTIPLE)
        for name, width in (("memory", widths.memory), ("keys", widths.keys)):
            profile[name] = Range((batch, MULTIPLE, width), (batch, typical, width), (batch, longest, width))
        profile["lengths"] = _fixed(batch)
    return profile


def _sequences(batch: tuple[int, int], time: tuple[int, int], state: int = 0) -> Profile:
    """Ids, lengths and perhaps a state over ranges of batch and time; typical is a quarter of the largest batch."""
    rows = max(batch[0], batch[1] // 4)
    positions = max(time[0], min(time[1], 2 * CHUNK))
    corners = ((batch[0], time[0]), (rows, positions), (batch[1], time[1]))
    profile = {"ids": Range(*corners), "lengths": Range(*((row,) for row, _ in corners))}
    if state:
        profile["state"] = Range(*((row, state) for row, _ in corners))
    return profile


def _fixed(*shape: int) -> Range:
    return Range(shape, shape, shape)
