"""When texts may be read beside the steps. Pure: it is told what calls cost.

Reading has a core of its own only where there is one to spare: the web server, the runtime and often the clients share
the machine. So after a call that reads, rows step for a while before the next one, as long as reading's share of the
time says. That costs no throughput: texts that arrive meanwhile are read together, which is cheaper than one by one,
the more so the busier the server is. While no row can step nothing is waited for.
"""


class Turns:
    """Gives reading its share of the time while rows step.

    Args:
        reading_share: share of the time for reading, above 0, below 1.
    """

    def __init__(self, reading_share: float) -> None:
        if not 0 < reading_share < 1:
            raise ValueError(f"the share of the time for reading must be between 0 and 1, not {reading_share}")
        self._rest_per_reading = (1 - reading_share) / reading_share  # time for time
        self._seconds_of_rest = 0.0  # in which rows step before the next reading
        self._is_reading = False

    def may_read(self, *, can_step: bool) -> bool:
        """Whether a reading may begin now."""
        return not self._is_reading and not (can_step and self._seconds_of_rest > 0)

    def begin_reading(self) -> None:
        """A call that reads begins."""
        self._is_reading = True

    def read(self, seconds: float) -> None:
        """It has ended, and taken so long."""
        self._is_reading = False
        self._seconds_of_rest = seconds * self._rest_per_reading

    def stepped(self, seconds: float) -> None:
        """A step has taken so long."""
        if not self._is_reading:
            self._seconds_of_rest -= seconds
