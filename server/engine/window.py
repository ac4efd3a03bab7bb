"""How many decode steps run between two scheduling points (multi-step decoding). Pure: the caller measures the calls.

Between two calls Python needs a fraction of a millisecond, whatever their length, and rows join and leave only there.
So a window has max_steps steps, unless a step is so slow that a new request would wait too long for the window's end.
What a row computes does not depend on it.
"""

LENGTHS = (1, 2, 4, 8)
MOST_SECONDS = 0.025
_SHARE_OF_LAST = 0.2  # of the latest window in the running mean


class WindowLength:
    """Chooses the number of steps.

    Args:
        max_steps: at least 1; windows are the lengths of LENGTHS up to it.
        most_seconds: a window of more than one step lasts no longer.
    """

    def __init__(self, max_steps: int = LENGTHS[-1], most_seconds: float = MOST_SECONDS) -> None:
        self.max_steps = max_steps
        self._lengths = [length for length in LENGTHS if length <= max_steps]
        self._most_seconds = most_seconds
        self._step_seconds: dict[int, float] = {}  # by binary digits of the number of rows

    def choose(self, num_rows: int, num_wanted: int) -> int:
        """The steps of the next window.

        Args:
            num_rows: rows that run, at least 1.
            num_wanted: the most steps that any row can still use, at least 1.
        """
        step_seconds = self._step_seconds.get(num_rows.bit_length(), self._most_seconds)
        chosen = self._lengths[0]
        for length in self._lengths[1:]:
            if chosen >= num_wanted or length * step_seconds > self._most_seconds:
                break
            chosen = length
        return chosen

    def record(self, num_rows: int, num_steps: int, seconds: float) -> None:
        """A window of `num_steps` steps for `num_rows` rows has taken `seconds`."""
        key, found = num_rows.bit_length(), seconds / num_steps
        known = self._step_seconds.get(key, found)
        self._step_seconds[key] = known + _SHARE_OF_LAST * (found - known)
