"""How a build reports its progress."""

from collections.abc import Callable

ProgressCallback = Callable[[str, int, int], None]  # a build's phase, steps done, steps in all
