"""Which shapes an engine is built for: optimization profiles, derived from what the server asks of each graph.

Step graphs have one profile for each batch bucket, its batch fixed: one context and one CUDA graph belong to each, and
kernels are chosen for that batch. Sequence graphs have ranges: short sequences in large batches, long ones in small.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from models.errors import ConfigError
from models.tasks import Graph, Sizes, Tensor
from runtime.buckets import buckets_up_to
from runtime.padding import MULTIPLE, padded_length

Shape = tuple[int, ...]
_SHORT = 128  # sequences up to this length have a profile of their own
_TYPICAL = 64  # positions that kernels are chosen for, where so many are allowed
Axis = tuple[int, int, int]  # smallest, typical, largest


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


def profiles_of(graph: Graph, sizes: Sizes, limits: Limits) -> tuple[Profile, ...]:
    """The profiles of one graph.

    Args:
        graph: one that a server opens.
        sizes: the bundle's.
        limits: the most that is asked.

    Returns:
        At least one profile; a shape's profile is the first that holds it.
    """
    longest = padded_length(limits.max_length)
    if graph.kind == "step":
        source = (MULTIPLE, min(longest, _TYPICAL), longest)
        buckets = buckets_up_to(limits.max_batch)
        return tuple(_profile(graph, sizes, {"B": (size, size, size), "S": source}) for size in buckets)
    if graph.max_time is not None:
        return (_sequences(graph, sizes, limits.max_batch, 1, graph.max_time),)
    short = _sequences(graph, sizes, limits.max_batch, MULTIPLE, min(longest, _SHORT))
    if longest <= _SHORT:
        return (short,)
    rows = max(1, min(limits.max_batch, limits.max_tokens // longest))
    return (short, _sequences(graph, sizes, rows, _SHORT + MULTIPLE, longest))


def _sequences(graph: Graph, sizes: Sizes, max_batch: int, shortest: int, longest: int) -> Profile:
    """Ranges of batch and time; typical is a quarter of the largest batch."""
    time = (shortest, max(shortest, min(longest, _TYPICAL)), longest)
    return _profile(graph, sizes, {"B": (1, max(1, max_batch // 4), max_batch), "T": time, "S": time})


def _profile(graph: Graph, sizes: Sizes, axes: Mapping[str, Axis]) -> Profile:
    def shape(tensor: Tensor, corner: int) -> Shape:
        return tensor.sizes({**sizes, **{axis: found[corner] for axis, found in axes.items()}})

    return {tensor.name: Range(shape(tensor, 0), shape(tensor, 1), shape(tensor, 2)) for tensor in graph.inputs}
