"""What hangs, as distinct from what is slow, and from a process that was stopped and goes on. Knows no engines."""

from collections.abc import Callable, Mapping

BEAT_SECONDS = 0.5  # between two looks


class Watch:
    """How long things have been doing the same, in time that this process has run.

    While a process is stopped (SIGSTOP, a paused container) the clock goes on and nothing in the process does. So each
    look counts for no more than twice the usual time between two of them.

    Args:
        clock: gives the time, in seconds; it never goes back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = clock()
        self._seen: dict[str, tuple[float, float]] = {}  # name -> when it began, as last given, and its seconds

    def look(self, since: Mapping[str, float]) -> None:
        """Note, every BEAT_SECONDS, when what each thing is doing has begun; 0 while it does nothing."""
        now = self._clock()
        passed, self._last = min(now - self._last, 2 * BEAT_SECONDS), now
        before, self._seen = self._seen, {}
        for name, began in since.items():
            began_before, seconds = before.get(name, (0.0, 0.0))
            self._seen[name] = began, seconds + passed if began and began == began_before else 0.0

    def seconds(self, name: str) -> float:
        """How long a thing has been seen doing what it does."""
        return self._seen.get(name, (0.0, 0.0))[1]
