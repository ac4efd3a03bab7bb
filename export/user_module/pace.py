"""How far sizes are tried: larger ones step by step, as long as what smaller ones took lets expect some seconds.

A forward or its graph may need time and memory by the square of a size (nn.EmbeddingBag in ONNX does). Time is the
processor's, so that a busy machine changes nothing. What is not tried is kept, to be said.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from export.user_module.draw import Drawing, Sizes
from export.user_module.parity import sizes_as_text

NOT_COMPARED = "Not compared with PyTorch"  # how what is said of it begins
MAX_SECONDS = 5.0  # that a comparison may be expected to take
MAX_TOTAL_SECONDS = 30.0  # of all comparisons; none begins after it
_FACTOR = 4.0  # by which the number of elements grows from one comparison to the next


class Pace:
    """Of the comparisons of one graph.

    Args:
        drawing: how its inputs are drawn.
        clock: seconds of processor time so far.

    Attributes:
        left: sizes that were not tried.
    """

    def __init__(self, drawing: Drawing, clock: Callable[[], float] = time.process_time) -> None:
        self._drawing = drawing
        self._clock = clock
        self._largest = drawing.small_sizes()  # that was compared
        self._seconds = 0.0  # what it took
        self._total = 0.0
        self.left: list[Sizes] = []

    def steps_to(self, sizes: Sizes) -> Iterator[Sizes]:
        """Sizes to compare at on the way to some, and those; it ends early where the next would take too long."""
        elements = self._drawing.num_elements
        while elements(self._largest) and elements(sizes) > _FACTOR * elements(self._largest):
            between = self._between(sizes)
            if elements(between) <= elements(self._largest):
                break
            if not self._is_expected_in_time(between):
                self._leave(sizes)
                return
            yield between
        if self._is_expected_in_time(sizes):
            yield sizes
        else:
            self._leave(sizes)

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

    def _leave(self, sizes: Sizes) -> None:
        if sizes not in self.left:
            self.left.append(sizes)

    def _is_expected_in_time(self, sizes: Sizes) -> bool:
        growth = self._drawing.num_elements(sizes) / max(1, self._drawing.num_elements(self._largest))
        return self._total <= MAX_TOTAL_SECONDS and self._seconds * max(1.0, growth) ** 2 <= MAX_SECONDS

    def _between(self, sizes: Sizes) -> Sizes:
        """A factor beyond the largest, towards some sizes: each axis as far on its way as the others."""
        ratio = self._drawing.num_elements(sizes) / self._drawing.num_elements(self._largest)
        steps = 2
        while ratio ** (1 / steps) > _FACTOR:
            steps += 1
        start = self._largest
        return {axis: round(start[axis] * (size / start[axis]) ** (1 / steps)) for axis, size in sizes.items()}

    def said(self) -> str:
        """What was not tried, in a sentence; "" where all was."""
        if not self.left:
            return ""
        shown = "; ".join(sizes_as_text(sizes) for sizes in self.left[:3])
        more = f" and {len(self.left) - 3} more" if len(self.left) > 3 else ""
        return (
            f"{NOT_COMPARED}: {shown}{more}. At {sizes_as_text(self._largest)} it took "
            f"{self._seconds:.1f} s, and more is expected of larger sizes."
        )
