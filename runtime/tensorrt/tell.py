"""How a build tells what it does."""

from collections.abc import Callable

Tell = Callable[[str, int, int], None]  # a build's phase, steps done, steps in all
