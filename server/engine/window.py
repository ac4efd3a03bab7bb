"""How many decoding steps one runtime call makes. Pure: it is told what calls cost.

Between two calls Python needs a fraction of a millisecond, whatever their length, and rows join and leave only there.
So a window is the shortest that lasts a few milliseconds: then Python's share is small, and a new request waits for
milliseconds. What a row computes does not depend on it.
"""

LENGTHS = (1, 2, 4, 8)
TARGET_SECONDS = 0.004
_SHARE_OF_LAST = 0.2  # of the latest window in the running mean


class WindowLength:
    """Chooses the number of steps.

    Args:
        max_steps: one of LENGTHS.
        target_seconds: a window lasts at least as long where max_steps allows.
    """

    def __init__(self, max_steps: int = LENGTHS[-1], target_seconds: float = TARGET_SECONDS) -> None:
        if max_steps not in LENGTHS:
            raise ValueError(f"max_steps {max_steps} must be one of {LENGTHS}")
        self._lengths = [length for length in LENGTHS if length <= max_steps]
        self._target_seconds = target_seconds
        self._step_seconds: dict[int, float] = {}  # by binary digits of the number of rows

    def choose(self, num_rows: int, num_wanted: int) -> int:
        """The steps of the next window.

        Args:
            num_rows: rows that run, at least 1.
            num_wanted: the most steps that any row can still use, at least 1.
        """
        step_seconds = self._step_seconds.get(num_rows.bit_length(), self._target_seconds)
        for length in self._lengths:
            if length * step_seconds >= self._target_seconds or length >= num_wanted:
                return length
        return self._lengths[-1]

    def ran(self, num_rows: int, num_steps: int, seconds: float) -> None:
        """A window of so many rows and steps has taken so long."""
        key, found = num_rows.bit_length(), seconds / num_steps
        known = self._step_seconds.get(key, found)
        self._step_seconds[key] = known + _SHARE_OF_LAST * (found - known)
