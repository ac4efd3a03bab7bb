"""Whose turn it is: reading what has come in (prefill, encode) or stepping the rows. Pure: it is told what calls cost.

After a call that reads, rows step until they have had their share of the time too. So neither a long text nor a full
batch keeps the other waiting, whatever either costs on this machine; and texts that arrive meanwhile are read together
in the next call, which is cheaper than one by one, the more so the busier the server is.
"""


class Turns:
    """Shares time between reading and stepping, while both have work.

    Args:
        reading_share: share of the time for reading, above 0, below 1.
    """

    def __init__(self, reading_share: float) -> None:
        if not 0 < reading_share < 1:
            raise ValueError(f"the share of the time for reading must be between 0 and 1, not {reading_share}")
        self._steps_per_reading = (1 - reading_share) / reading_share  # time for time
        self._is_step_next = False
        self._step_seconds_due = 0.0  # what rows are owed for the last call that read
        self._is_reading = False

    @property
    def is_step_due(self) -> bool:
        """Whether rows that can step go first."""
        return self._is_step_next or self._step_seconds_due > 0

    def begin_reading(self) -> None:
        """The next call reads; a step is due after it."""
        self._is_step_next = self._is_reading = True

    def begin_step(self) -> None:
        """The next call is a step."""
        self._is_step_next = self._is_reading = False

    def took(self, seconds: float) -> None:
        """What the call that was begun last has cost."""
        if self._is_reading:
            self._step_seconds_due = seconds * self._steps_per_reading
        else:
            self._step_seconds_due -= seconds
