"""When things happened to a request. Written by the engine's thread, read once the request is over."""

import time
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class Times:
    """Readings of time.perf_counter, in seconds; 0 while it has not happened.

    Attributes:
        began: the first call that works on it was made.
        first_token: its first token was chosen.
    """

    began: float = 0.0
    first_token: float = 0.0


def note_began(all_times: Iterable[Times]) -> None:
    """A call that works on these is about to be made."""
    now = time.perf_counter()
    for times in all_times:
        if not times.began:
            times.began = now


def note_first_token(all_times: Iterable[Times]) -> None:
    """Each of these has had a token."""
    now = time.perf_counter()
    for times in all_times:
        if not times.first_token:
            times.first_token = now
