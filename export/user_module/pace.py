"""How far sizes are tried: larger ones step by step, as long as what smaller ones took lets expect some seconds.

A forward or its graph may need time and memory by the square of a size, as that of nn.EmbeddingBag does.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from export.user_module.draw import Drawing, Sizes
from export.user_module.parity import sizes_as_text

MAX_SECONDS = 5.0  # that a comparison may be expected to take
MAX_TOTAL_SECONDS = 60.0  # of all comparisons; none begins after it
_FACTOR = 4.0  # by which the number of elements grows from one comparison to the next


class Pace:
    """Of the comparisons of one graph.

    Args:
        drawing: how its inputs are drawn.
        clock: seconds so far.

    Attributes:
        why_left: why the last sizes of steps_to were not reached; None where they were.
    """

    def __init__(self, drawing: Drawing, clock: Callable[[], float] = time.monotonic) -> None:
        self._drawing = drawing
        self._clock = clock
        self._largest = drawing.small_sizes()  # that was compared
        self._seconds = 0.0  # what it took
        self._total = 0.0
        self.why_left: str | None = None

    def steps_to(self, sizes: Sizes) -> Iterator[Sizes]:
        """Sizes to compare at on the way to some, and those; it ends early where the next would take too long."""
        elements = self._drawing.num_elements
        self.why_left = None
        while elements(self._largest) and elements(sizes) > _FACTOR * elements(self._largest):
            between, before = self._between(sizes), elements(self._largest)
            if elements(between) <= before:
                break
            self.why_left = self._why_not(between)
            if self.why_left is not None:
                return
            yield between
            if elements(self._largest) <= before:  # it was not compared after all
                break
        self.why_left = self._why_not(sizes)
        if self.why_left is None:
            yield sizes

    def is_within(self, sizes: Sizes) -> bool:
        """Whether a comparison at some sizes may begin."""
        return self._why_not(sizes) is None

    @contextmanager
    def timed(self, sizes: Sizes) -> Iterator[None]:
        """Around the comparison at sizes."""
        begin = self._clock()
        try:
            yield
        finally:
            seconds = self._clock() - begin
            self._total += seconds
            if self._drawing.num_elements(sizes) >= self._drawing.num_elements(self._largest):
                self._largest, self._seconds = sizes, seconds

    def _why_not(self, sizes: Sizes) -> str | None:
        growth = self._drawing.num_elements(sizes) / max(1, self._drawing.num_elements(self._largest))
        if self._total > MAX_TOTAL_SECONDS:
            return f"comparing took more than {MAX_TOTAL_SECONDS:g} seconds"
        if self._seconds * max(1.0, growth) ** 2 > MAX_SECONDS:
            return (
                f"comparing took {self._seconds:.1f} seconds at {sizes_as_text(self._largest)}, and grows with the size"
            )
        return None

    def _between(self, sizes: Sizes) -> Sizes:
        """A factor beyond the largest, towards some sizes: each axis as far on its way as the others."""
        ratio = self._drawing.num_elements(sizes) / self._drawing.num_elements(self._largest)
        steps = 2
        while ratio ** (1 / steps) > _FACTOR:
            steps += 1
        start = self._largest
        return {axis: round(start[axis] * (size / start[axis]) ** (1 / steps)) for axis, size in sizes.items()}
