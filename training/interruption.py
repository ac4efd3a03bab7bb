"""Ctrl-C and SIGTERM while a stage trains: the first asks to stop at the next update, the second leaves at once.

Knows no checkpoints: the trainer asks `is_asked` between two updates, writes its checkpoint and calls `leave`.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether the run was asked to stop.

    Attributes:
        number: of the signal that asked, None as long as none has.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    @property
    def is_asked(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    def leave(self) -> None:
        """End the process as the signal would have.

        Raises:
            KeyboardInterrupt: Ctrl-C; the program's exit status is 130.
            SystemExit: SIGTERM, exit status 143; or another process of this run was asked.
        """
        if self.number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + (signal.SIGTERM if self.number is None else self.number))

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        is_second = self.is_asked
        self.number = number
        if is_second:
            self.leave()


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Signals ask instead of ending the process. In another thread than the main one, where Python sets no signal
    handlers, and for a signal that the process ignores, nothing changes.
    """
    found = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return
    chosen = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, found._on_signal) for number in chosen}
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
